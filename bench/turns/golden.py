"""Tracks for the tests: what Silero and Smart Turn said of recordings, without their sound."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from rigs.turn_tracks import LEVEL, SECONDS, Call, Track, replay

from bench.turns.recordings import Clip, Ears, windows
from duologue.conversation.effects import Ask
from duologue.settings import PatienceSetting, Settings
from duologue.turns.patience import Patience

_COUNT = 40
_AFTER = round(
    3.0 / SECONDS
)  # windows of the room tone behind a recording; the rest says nothing new


def write(clips: Sequence[Clip], ears: Ears, folder: Path) -> None:
    """Write some tracks, spread over the kinds, and what the product does with them."""
    folder.mkdir(parents=True, exist_ok=True)
    known = sorted(clips, key=lambda clip: (clip.kind, clip.name))
    picked = known[:: max(1, len(known) // _COUNT)][:_COUNT]
    lines = ",\n".join(json.dumps(_track(clip, ears), separators=(",", ":")) for clip in picked)
    (folder / "tracks.json").write_text(f"[\n{lines}\n]\n", "utf-8")
    print(f"{len(picked)} tracks in {folder.name}/tracks.json")


def _track(clip: Clip, ears: Ears) -> Track:
    levels = [np.sqrt(np.mean(np.square(window))) for window in windows(clip.samples)][:-_AFTER]
    track = Track(
        name=clip.name,
        speech=[round(100 * p) for p in ears.track(clip.samples)[:-_AFTER]],
        level=[round(20 * np.log10(max(level, 1e-5)) / LEVEL) for level in levels],
        finished={},
        events={},
    )
    for patience in get_args(PatienceSetting):
        settings = Settings(patience=patience)
        track["finished"] |= _answers(clip, track, settings, ears)
    for patience in get_args(PatienceSetting):
        track["events"][patience] = replay(track, Settings(patience=patience))
    return track


def _answers(clip: Clip, track: Track, settings: Settings, ears: Ears) -> dict[str, float]:
    """What Smart Turn says of the real sound at the pauses that the track has."""
    speech = iter(track["speech"])
    call = Call(settings, Patience(), lambda _: next(speech) / 100, 0.6)
    answers = {}
    for number, window in enumerate(windows(clip.samples[: -_AFTER * 512]), 1):
        for effect in call.hear(window, number * SECONDS):
            if isinstance(effect, Ask):
                answers[str(number)] = round(ears.finished(effect.sound.samples), 3)
        call.sound(number * SECONDS)
    return answers
