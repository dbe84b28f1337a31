"""A child that does what none should. Argument: how it is odd."""

import sys

from duologue.system import child


def main() -> None:
    child.behave()
    if sys.argv[1] == "short of threads":  # as OpenBLAS says it
        sys.stderr.write(
            "pthread_create failed for thread 1 of 2: Resource temporarily unavailable\n"
        )
        sys.stderr.write("KeyboardInterrupt\n")
        sys.exit(1)
    child.tell("ready")
    sys.stdin.buffer.read()  # "deaf": to all that it is sent


if __name__ == "__main__":
    main()
