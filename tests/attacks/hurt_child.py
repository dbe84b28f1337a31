"""The process that decodes sound files, when a file has found a fault of a decoder.

A "file" here is a word: what it does to the process.
"""

import os
import signal
import time

from duologue.audio import AudioChunk
from duologue.audio import child as sound_child
from duologue.testing import tone


def _hurt(data: bytes, limit: float, name: str) -> AudioChunk:
    match data:
        case b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"crash the next":  # as memory that was written over does
            vars(sound_child)["decode"] = _crash
        case b"work for ever":
            while True:
                pass
        case b"hang":
            time.sleep(1_000)
        case b"be ended":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"take all memory":
            bytearray(1 << 40)
        case b"be unforeseen":
            raise LookupError("nobody thought of this")
    return tone(0.1)


def _crash(data: bytes, limit: float, name: str) -> AudioChunk:
    return _hurt(b"crash", limit, name)


if __name__ == "__main__":
    vars(sound_child).update(decode=_hurt, seconds_for=lambda limit: 1)
    sound_child.main()
