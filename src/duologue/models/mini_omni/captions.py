"""Words in step with the voice that says them."""

_RATE = 15.0  # characters a second: 2.5 to 3 words, as most people speak
_LEAD = 12  # characters that are shown ahead, so that a word is there when it begins


class Captions:
    """The text of a reply, which is written three times as fast as it is spoken.

    Mini-Omni does not tell when which word is heard. If all that is written went out at once, a
    reply that is interrupted would be said to have been heard to its end.
    """

    def __init__(self) -> None:
        self._waiting = ""
        self._due = float(_LEAD)

    def write(self, text: str) -> None:
        """What the model wrote."""
        self._waiting += text

    def take(self, seconds: float, *, last: bool = False) -> str:
        """The whole words that go with the next `seconds` of sound; with the last sound, all of them."""
        self._due += seconds * _RATE
        end = len(self._waiting)
        if not last and end > self._due:
            end = self._waiting.rfind(" ", 0, int(self._due) + 1)
        words, self._waiting = self._waiting[: max(end, 0)], self._waiting[max(end, 0) :]
        self._due = max(self._due - len(words), 0.0) if self._waiting else float(_LEAD)
        return words
