"""Recorded conversations, without their sound: what is done with them does not change unnoticed.

`python -m bench.turns --golden tests/golden/turns` writes them anew, after a
change that was meant.
"""

import json
from pathlib import Path

import pytest
from rigs.turn_tracks import Track, replay

from duologue.settings import PatienceSetting, Settings

TRACKS: list[Track] = json.loads(
    (Path(__file__).parents[1] / "golden/turns/tracks.json").read_text("utf-8")
)


@pytest.mark.parametrize("patience", ["quick", "normal", "patient", "fixed"])
@pytest.mark.parametrize("track", TRACKS, ids=lambda track: track["name"])
def test_a_recording_is_taken_as_before(track: Track, patience: PatienceSetting) -> None:
    assert replay(track, Settings(patience=patience)) == track["events"][patience]


def test_the_recordings_cover_what_may_happen() -> None:
    done = {line.split()[1] for track in TRACKS for line in track["events"]["quick"]}
    assert done >= {"Start", "Drop", "TurnStarted", "SpeechStopped", "TurnCommitted", "ReplyDelta"}
    assert done >= {"ReplyDucked", "ReplyDone", "ItemsWithdrawn"}
