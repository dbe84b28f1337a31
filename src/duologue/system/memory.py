"""Memory that is freed, and goes back to the system."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGE = 4_000_000  # bytes


def keep_none() -> None:
    """Large pieces lie in maps of their own from now on, in this process, and go back when they are freed.

    By itself glibc raises that size to that of what was freed, and what lies behind a piece that is in use
    stays. Elsewhere than on Linux with glibc this does nothing.
    """
    if sys.platform == "linux" and (option := getattr(ctypes.CDLL(None), "mallopt", None)):
        option(_M_MMAP_THRESHOLD, _LARGE)
        option(_M_TRIM_THRESHOLD, _LARGE)
