"""The processors: how many this process may use, and what they can do. Imports nothing heavy."""

import math
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_CPUINFO = Path("/proc/cpuinfo")

# What libraries that compute read when they are loaded: OpenMP and Rust's rayon.
_COUNTS = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""The environment variable with which numpy computes in the thread that asks it.

After a product of matrices, its own threads look for the next one without rest, for longer than our
products take, on the processors that the networks need.
"""


def cpus(root: Path = Path("/")) -> int:
    """How many this process may use, at least 1: as the scheduler says, and a container's quota.

    Args:
        root: where the system's `proc` and `sys` are.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (`cpu.max`) and
    Documentation/scheduler/sched-bwc.rst (`cpu.cfs_quota_us`).
    """
    allowed = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([allowed, *quotas]))


def limit_threads() -> None:
    """Tell libraries that would start a thread for each processor of the machine how many there are.

    numpy is told to start none.

    It counts for those that are loaded later, and for child processes. What the user set stays.
    """
    for name, one in ONE_THREAD.items():
        os.environ.setdefault(name, one)
    count = cpus()
    if count < (os.cpu_count() or 1):
        for name in _COUNTS:
            os.environ.setdefault(name, str(count))


def lacking(needed: tuple[str, ...], cpuinfo: Path | None = None) -> tuple[str, ...]:
    """Those of these instruction sets of x86, by their names in Linux, that are not here.

    Empty where that is not known.
    """
    known = instructions(cpuinfo)
    return tuple(flag for flag in needed if known and flag not in known)


def instructions(cpuinfo: Path | None = None) -> frozenset[str]:
    """The instruction sets of x86 that are here, by their names in Linux; empty: that is not known."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        with suppress(OSError):
            for line in (cpuinfo or _CPUINFO).read_text(errors="replace").splitlines():
                name, _, flags = line.partition(":")
                if name.strip() == "flags":
                    return frozenset(flags.split())
    return frozenset()


def _quotas(root: Path) -> Iterator[float]:
    """The quotas, in processors, of the control groups that this process is in."""
    groups = root / "sys/fs/cgroup"
    for controllers, path in _memberships(root):
        if controllers == "":
            for folder in _upwards(groups, path):
                with suppress(OSError, ValueError, ZeroDivisionError):
                    quota, period = (folder / "cpu.max").read_text().split()
                    yield float(quota) / float(period)  # "max" is no number
        elif "cpu" in controllers.split(","):
            for folder in _upwards(groups / controllers, path):
                with suppress(OSError, ValueError, ZeroDivisionError):
                    quota = (folder / "cpu.cfs_quota_us").read_text()
                    period = (folder / "cpu.cfs_period_us").read_text()
                    if float(quota) > 0:  # -1: none
                        yield float(quota) / float(period)


def _memberships(root: Path) -> Iterator[tuple[str, str]]:
    """Controllers (empty: version 2, with all of them) and the group's path there."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            if line.count(":") >= 2:
                _, controllers, path = line.split(":", 2)
                yield controllers, path


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The group and those around it: each may have a quota. In a container, only some are to be seen."""
    inside = PurePosixPath(path.lstrip("/"))
    yield from (mount / folder for folder in (inside, *inside.parents))
