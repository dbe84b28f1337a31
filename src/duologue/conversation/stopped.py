"""A reply that was stopped while it sounded, and may be taken up again. Pure."""

from dataclasses import dataclass, replace

from duologue.conversation.items import Item, ReplyChunk

_STOPS = (".", "!", "?", "…", "。", "\uff01", "\uff1f")
_AROUND = " \n\"'\u201d\u2019»)」』]"  # what may follow the end of a sentence
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
        place, heard = self._place()
        start, said = place, "".join(chunk.text for chunk in self.made[:place])
        rest = self.made[place:]
        # Words may come before their sound.
        while start and rest and not (rest[0].text.strip() and _ends(said)):
            start -= 1
            said = said.removesuffix(self.made[start].text)
            rest = self.made[start:]
        if self.again and start == 0:
            rest = _from(self.made[place:], heard)
        if sum(chunk.audio.duration for chunk in rest if chunk.audio) < _LEAST:
            return []
        return [replace(rest[0], text=rest[0].text.lstrip()), *rest[1:]]

    def _place(self) -> tuple[int, float]:
        """The first piece that was not heard to its end, and how many seconds of it were."""
        heard = self.item.seconds
        for place, chunk in enumerate(self.made):
            seconds = chunk.audio.duration if chunk.audio else 0.0
            if heard < seconds - _LEAST / 3:
                return place, max(0.0, heard)
            heard -= seconds
        return len(self.made), 0.0


def _ends(said: str) -> bool:
    """Whether a sentence ends there."""
    return said.rstrip(_AROUND).endswith(_STOPS)


def _from(pieces: list[ReplyChunk], seconds: float) -> list[ReplyChunk]:
    """These pieces without the first seconds of the first one, and without its words for that share."""
    if not pieces or not (audio := pieces[0].audio):
        return pieces
    words = pieces[0].text.split()
    left = words[int(len(words) * seconds / audio.duration) :]
    rest = ReplyChunk(audio.between(seconds, audio.duration), " ".join(left))
    return [rest, *pieces[1:]]
