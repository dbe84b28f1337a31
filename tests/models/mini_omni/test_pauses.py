"""Mini-Omni in a session: what it hears in a pause is what it answers."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytest.importorskip("openvino")
pytest.importorskip("tokenizers")

from duologue.audio import INPUT_RATE, concatenate, silence
from duologue.audio.log_mel import frames_of
from duologue.conversation.events import AudioReceived, ReplyDelta
from duologue.models import load_model
from duologue.models.engine import Engine
from duologue.models.mini_omni.model import MiniOmni
from duologue.models.mini_omni.runtime import Floats
from duologue.session.session import Session
from duologue.settings import Settings
from duologue.testing import LoudnessVad, MemoryRecord, MemoryTransport, tone


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("threads", ["1", "auto"])
async def test_a_reply_answers_what_was_encoded_in_its_pause(
    mini_omni_cache: Path, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("DUOLOGUE_CACHE", str(mini_omni_cache))
    engine = load_model("mini-omni", device="cpu", max_reply="1", threads=threads)
    assert isinstance(engine, Engine)
    await engine.start()
    assert isinstance(engine._model, MiniOmni)
    runtime, counts = engine._model._runtime, list[int]()
    encode = runtime.encode

    def counting(mels: Sequence[Floats], frames: Sequence[int]) -> object:
        counts.extend(frames)
        return encode(mels, frames)

    monkeypatch.setattr(runtime, "encode", counting)
    line = MemoryTransport()
    session = Session(line, LoudnessVad(), engine, MemoryRecord(), Settings())
    served = asyncio.create_task(session.run())
    for pause in (0.2, 1.4):  # in the first the user goes on
        for sound in (tone(1.0), silence(pause, INPUT_RATE)):
            for start in range(round(sound.duration / 0.032)):
                line.push(AudioReceived(sound.between(0.032 * start, 0.032 * (start + 1))))
        await until(lambda: counts)
    await until(lambda: any(event.audio for event in line.told(ReplyDelta)))
    line.hang_up()
    await served
    await engine.close()
    spoken = concatenate([tone(1.0), silence(0.2, INPUT_RATE), tone(1.0)], INPUT_RATE)
    first, *others = counts
    # 96 ms after the first second, and after the last; the padding in front is silence.
    assert first == pytest.approx(frames_of(tone(1.0).samples) + 5, abs=3)
    assert others == [pytest.approx(frames_of(spoken.samples) + 5, abs=3)]
