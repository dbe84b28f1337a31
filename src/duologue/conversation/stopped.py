"""A reply that was stopped while it sounded, and may be taken up again. Pure."""

from dataclasses import dataclass, replace

from duologue.conversation.items import Item, ReplyChunk

_STOPS = (".", "!", "?", "…", "。", "\uff01", "\uff1f")
_LEAST = 0.3  # seconds of sound that are worth it


@dataclass(slots=True)
class Stopped:
    """A reply that was stopped while it sounded.

    Attributes:
        item: of the conversation; it has what was heard.
        made: all that was made of it.
        at: when it was stopped, by the session's clock.
        asked: a question had just been heard of it.
        again: it was one that was taken up already.
        by: the item that the user stopped it with; None: the client stopped it.
    """

    item: Item
    made: list[ReplyChunk]
    at: float
    asked: bool
    again: bool
    by: Item | None = None

    def rest(self) -> list[ReplyChunk]:
        """What was not heard, from the start of the sentence in which it was stopped; empty: all was heard.

        A reply that is stopped in one sentence again and again goes on in it: else it got no further.
        """
        place = self._place()
        start, said = place, "".join(chunk.text for chunk in self.made[:place])
        while start and not said.rstrip().endswith(_STOPS):
            start -= 1
            said = said.removesuffix(self.made[start].text)
        if self.again and start == 0:
            start = place
        rest = self.made[start:]
        if sum(chunk.audio.duration for chunk in rest if chunk.audio) < _LEAST:
            return []
        return [replace(rest[0], text=rest[0].text.lstrip()), *rest[1:]]

    def _place(self) -> int:
        """The first piece that was not heard to its end."""
        heard = self.item.seconds
        for place, chunk in enumerate(self.made):
            heard -= chunk.audio.duration if chunk.audio else 0.0
            if heard < -_LEAST / 3:
                return place
        return len(self.made)
