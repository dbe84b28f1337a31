"""A policy on a recording, in simulated time: the product's own, or a rule of the field."""

from collections.abc import Callable
from typing import Protocol

from rigs.turn_tracks import ANSWER, SECONDS, Call, Outcome

from bench.turns.recordings import Clip, Ears, windows
from duologue.audio import INPUT_RATE
from duologue.conversation.effects import Ask
from duologue.conversation.events import EndOfTurnAnswered
from duologue.settings import Settings
from duologue.turns.detector import WINDOW
from duologue.turns.patience import Patience


class Policy(Protocol):
    """Decides when replies are heard."""

    def __call__(self, clip: Clip, model_time: float, ears: Ears) -> Outcome:
        """What happens on a recording, with a model that takes this long to its first sound."""
        ...


class _Eager(Patience):
    """Starts the reply as soon as anybody does, whatever is thrown away: the fairest to a fixed wait."""

    def start(self, settings: Settings, probability: float | None) -> float:  # noqa: ARG002
        return 0.224


class Duologue:
    """The product's own policy, with these settings."""

    def __init__(
        self,
        settings: Settings,
        *,
        smart_turn: bool = True,
        patience: type[Patience] = Patience,
        before: str = "",
    ) -> None:
        """`before`: what the model has said before the recording."""
        self._before = before
        self._settings = settings
        self._smart_turn = smart_turn and settings.patience != "fixed"
        self._patience = patience

    def __call__(self, clip: Clip, model_time: float, ears: Ears) -> Outcome:
        """See `Policy`."""
        patience = self._patience()
        patience.learn(model_time)
        track = iter(ears.track(clip.samples))
        call = Call(self._settings, patience, lambda _: next(track), model_time, self._before)
        answers: list[tuple[float, int, float]] = []
        for number, window in enumerate(windows(clip.samples), 1):
            now = number * SECONDS
            while answers and answers[0][0] <= now:
                _, pause, probability = answers.pop(0)
                call.receive(EndOfTurnAnswered(pause, probability), now)
            for effect in call.hear(window, now):
                if isinstance(effect, Ask) and self._smart_turn:
                    finished = ears.finished(effect.sound.samples)
                    answers.append((now + ANSWER, effect.pause, finished))
            call.sound(now)
        return call.outcome


# Rules of the field, restated: what is written down of them, on the same voice activity.

Decide = Callable[[float, float], bool]
"""(seconds of silence, Smart Turn's answer) -> whether the turn has ended"""


class SilenceRule:
    """Ends a turn by silence and an answer of Smart Turn; the model is asked then, not before."""

    def __init__(self, decide: Decide, ask: float | None = None) -> None:
        """`ask`: seconds of silence at which Smart Turn is asked; None: never."""
        self._decide, self._ask = decide, ask

    def __call__(self, clip: Clip, model_time: float, ears: Ears) -> Outcome:
        """See `Policy`."""
        outcome = Outcome()
        speaking, silence, began, finished = False, 0.0, 0, 0.0
        for number, probability in enumerate(ears.track(clip.samples), 1):
            if probability >= 0.5:
                began = began if speaking else max(0, number - 10)
                speaking, silence = True, 0.0
            elif speaking and (silence or probability < 0.35):
                silence += SECONDS
                if self._ask and silence - SECONDS < self._ask <= silence:
                    heard = clip.samples[began * WINDOW : number * WINDOW][-8 * INPUT_RATE :]
                    finished = ears.finished(heard)
                if self._decide(silence, finished):
                    speaking = False
                    outcome.starts += 1
                    outcome.sounds.append(number * SECONDS + model_time)
        return outcome


def chunk_rule(clip: Clip, model_time: float, ears: Ears) -> Outcome:
    """FastRTC's: of chunks of 0.6 s, the first with less than 0.1 s of speech ends the turn."""
    outcome, speaking, size = Outcome(), False, round(0.6 / SECONDS)
    track = ears.track(clip.samples)
    for start in range(0, len(track) - size + 1, size):
        speech = sum(probability >= 0.5 for probability in track[start : start + size]) * SECONDS
        if not speaking:
            speaking = speech > 0.2
        elif speech < 0.1:
            speaking = False
            outcome.starts += 1
            outcome.sounds.append((start + size) * SECONDS + model_time)
    return outcome


POLICIES: dict[str, Policy] = {
    "quick": Duologue(Settings(patience="quick")),
    "normal": Duologue(Settings(patience="normal")),
    "patient": Duologue(Settings(patience="patient")),
    "normal, no Smart Turn": Duologue(Settings(), smart_turn=False),
    **{
        f"fixed {silence} s, started early": Duologue(
            Settings(patience="fixed", silence=silence), patience=_Eager
        )
        for silence in (0.5, 0.8, 0.9, 1.0)
    },
    "fixed 0.5 s (OpenAI's default)": SilenceRule(lambda silence, _: silence >= 0.5),
    "0.6 s chunks (FastRTC)": chunk_rule,
    "0.2 s + Smart Turn (pipecat)": SilenceRule(
        lambda silence, finished: silence >= 3 or (silence >= 0.2 and finished >= 0.5), ask=0.2
    ),
    "0.8 or 2 s by Smart Turn (HF)": SilenceRule(
        lambda silence, finished: silence >= (0.8 if finished >= 0.5 else 2.0), ask=0.064
    ),
}
"""By the names in the table. The last four are other products' rules, as we understand them."""
