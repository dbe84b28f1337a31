"""Processes of this one's, and what they have computed."""

import contextlib

import psutil


def children(part: str) -> list[psutil.Process]:
    """The processes of a part of the model that run."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended in the meantime
            if any(part in argument for argument in child.cmdline()):
                found.append(child)
    return found


def computed(part: str) -> float:
    """Seconds that the processes of a part have computed."""
    seconds = 0.0
    for child in children(part):
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += child.cpu_times().user
    return seconds
