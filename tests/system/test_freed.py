"""What is freed goes back to the system: in a process of its own, which keeps none."""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from duologue.system import memory

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096

if sys.argv[1] == "keep none":
    memory.keep_none()
large = bytearray(30_000_000)
del large  # glibc takes 30 MB for small from now on
before = resident()
pieces = [bytearray(5_000_000) for _ in range(8)]
last = bytearray(100_000)
del pieces
print((resident() - before) // 1_000_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
@pytest.mark.parametrize(("how", "kept"), [("as usual", 40), ("keep none", 0)])
def test_what_is_freed_behind_what_is_in_use_goes_back(how: str, kept: int) -> None:
    run = [sys.executable, "-c", _PROGRAM, how]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(kept, abs=8)
