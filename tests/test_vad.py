from pathlib import Path

import pytest

from conftest import DAMAGES, put_damaged
from duologue.errors import ModelUnavailable
from duologue.vad import Silero


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_damaged("silero-vad", tmp_path, damage)
    monkeypatch.setenv("DUOLOGUE_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable) as failure:
        Silero()
    sentence = f"the voice activity weights in {path} are damaged; run: duologue pull silero-vad"
    assert str(failure.value) == sentence
