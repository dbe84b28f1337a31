"""Time, for whoever waits."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Tests drive theirs."""

    def now(self) -> float:
        """Seconds since whenever; never runs back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return `seconds` later."""
        ...


class WallClock:
    """The time that passes for people."""

    def now(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)
