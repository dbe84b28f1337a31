"""When the sound of a reply goes out, and whether its listener can wait for somebody else: pure."""

FRAME_SECONDS = 2048 / 24_000
"""What one step of the model gives: it must be made in less time to be heard without holes."""

_CUSHION = 3  # times what the next frame takes to make
_CAUTION = 0.9  # of the measured speed: it may have been a good moment


class Pace:
    """One reply's sound: how much of it was made, how much went out, how much its listener has left.

    The first sound is held back until it lasts three times as long as the next takes to make: a browser on
    the same machine is late now and then. On a machine that is slower than real time it is held back until
    what is left to be made can be made while what is there is heard: then there is one wait in front and no
    hole behind.

    Attributes:
        since: when it was asked for.
    """

    def __init__(self, speed: float, longest: float, now: float) -> None:
        """Begin.

        Args:
            speed: seconds of sound that the machine makes in a second.
            longest: seconds that the reply may last.
            now: of whatever clock.
        """
        self.since = now
        # While `longest` is heard, speed * longest is made; the rest must be there, and a frame is
        # made only when all of it is.
        missing = longest * (1 - _CAUTION * speed)
        self._needed = missing + FRAME_SECONDS if missing > 0 else _CUSHION * FRAME_SECONDS / speed
        self._made = 0.0
        self._out_since: float | None = None

    @property
    def is_held(self) -> bool:
        """What was made so far has to wait."""
        return self._made < self._needed

    def make(self, seconds: float) -> None:
        """So much more sound was made."""
        self._made += seconds

    def let_out(self, now: float) -> None:
        """It goes out, from now on as it is made."""
        self._needed = 0.0
        if self._out_since is None:
            self._out_since = now

    def reserve(self, now: float) -> float:
        """Seconds from now until the listener has heard all that went out; 0 before it began."""
        if self._out_since is None:
            return 0.0
        return self._made - (now - self._out_since)
