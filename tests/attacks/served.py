"""A server in a process of its own, so that what ends it does not end the tests: run as a program."""

import sys

from conftest import serving
from duologue.server.config import load_config


def main() -> None:
    """Serve `echo` until standard input ends; the first line of the output is where."""
    flags = {"model": "echo", "port": 0, "page": False}
    with serving(load_config(flags, environ={})) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
