"""How long each part of a turn took, and how the end of the turn was found."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

CutBy = Literal["", "resumed", "marked"]

_SECONDS = {
    "decided": "last_word_to_decided_s",
    "started": "last_word_to_model_started_s",
    "first_token": "last_word_to_first_token_s",
    "first_sound": "last_word_to_first_sound_s",
    "sent": "last_word_to_sent_s",
    "played": "last_word_to_played_s",
    "heard": "heard_s",
}  # what `metadata` calls them


@dataclass(slots=True)
class Pause:
    """The pause that was taken for the end of the turn: all that the decision went by, and no sound.

    Attributes:
        probability: that the turn is over, by Smart Turn; None: it did not answer in time, or is not there.
        patience: the setting.
        factor: by which this user's waits are longer than the setting's.
        wait: seconds of silence that it took, factor included.
        speech: seconds of speech in the utterance.
        level: of that speech, in decibels of full scale.
        background: of the room, in decibels of full scale.
    """

    probability: float | None
    patience: str
    factor: float
    wait: float
    speech: float
    level: float
    background: float


@dataclass(slots=True)
class Timings:
    """The times of one turn: seconds after the user's last word; None: has not happened, or is not known.

    Attributes:
        decided: the turn was taken for ended.
        started: the model was asked for the reply that was sent.
        first_token: it gave the first word or sound of the reply.
        first_sound: it gave the first sound.
        sent: the first sound was handed to the connection.
        played: the first sound left the user's loudspeaker, as far as the client tells.
        early: the model was asked before the end was decided.
        drops: replies to this turn that were begun and taken back before anybody heard of them.
        heard: seconds of the reply that reached the user's ear.
        pause: how the end was found; None: the client decided it.
        cut: the turn was ended too early: by the user's going on within a second of the reply
            ("resumed"), or by the user's word ("marked").
    """

    decided: float | None = None
    started: float | None = None
    first_token: float | None = None
    first_sound: float | None = None
    sent: float | None = None
    played: float | None = None
    early: bool = False
    drops: int = 0
    heard: float | None = None
    pause: Pause | None = field(default=None)
    cut: CutBy = ""

    def metadata(self) -> dict[str, str]:
        """The timings as the Realtime API's metadata: at most 16 pairs; what is not known is left out.

        Of the pause, it has how finished it sounded and how long it lasted.
        """
        known = {name: getattr(self, name) for name in _SECONDS}
        pairs = {_SECONDS[name]: f"{at:.3f}" for name, at in known.items() if at is not None}
        pairs |= {"early": "true" if self.early else "false", "drops": str(self.drops)}
        if self.pause:
            pairs["wait_s"] = f"{self.pause.wait:.3f}"
            if self.pause.probability is not None:
                pairs["finished_probability"] = f"{self.pause.probability:.3f}"
        return pairs | ({"cut": self.cut} if self.cut else {})

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Timings":
        """What `metadata` has of a timings; whatever else it has, or has wrong, counts as not known."""
        timings = cls()
        for name, key in _SECONDS.items():
            setattr(timings, name, _number(metadata.get(key)))
        timings.early = metadata.get("early") == "true"
        timings.drops = max(0, int(_number(metadata.get("drops")) or 0))
        timings.cut = next((by for by in get_args(CutBy) if by == metadata.get("cut")), "")
        return timings

    def summary(self) -> str:
        """The timings for the user, in one line; empty when nothing is known."""
        at = self.sent if self.played is None else self.played
        parts = []
        if at is not None:
            parts.append(f"{at:.2f} s after your last word")
            if self.early:
                parts.append("started early")
        if self.heard is not None:
            parts.append(f"heard {self.heard:.1f} s")
        if self.cut:
            parts.append("cut you off")
        return " · ".join(parts)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
