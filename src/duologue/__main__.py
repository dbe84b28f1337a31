"""`duologue`, and `python -m duologue`."""

import signal
import sys


def main() -> int:
    """Run the command line; Ctrl-C ends it at once while it is still being imported."""
    # That takes a second or two, in which there is nothing to clean up, and nothing but a traceback to say.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from duologue.system import cpus

    cpus.limit_threads()
    from duologue import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
