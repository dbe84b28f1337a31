"""The chain's ear, for models that write nothing down."""

import asyncio

import pytest

pytest.importorskip("ctranslate2")

from rigs.processes import children

from conftest import serving
from duologue import weights
from duologue.models.cascade.ear import LazyEar, find_ear
from duologue.models.echo import Echo
from duologue.server.config import load_config
from models.cascade.rig import needs_weights, spoken
from transports.realtime.messages import append, message
from transports.realtime.test_endpoint import hear, line


@needs_weights
async def test_echo_has_words_where_a_client_wants_them() -> None:
    speech = (await spoken("What is the weather like today?")).at(24_000)
    config = load_config({"model": "echo", "port": 0, "page": False}, environ={})
    ear = LazyEar()
    asked = {"input": {"turn_detection": None, "transcription": {"model": "any"}}}
    before = children("whisper_child")
    with serving(config, Echo(), ear=ear) as server:
        async with line(server) as socket:
            assert children("whisper_child") == before  # nobody has wanted words yet
            session = {"type": "realtime", "audio": asked}
            await socket.send(message("session.update", session=session))
            told = (await hear(socket, "session.updated"))["session"]
            assert told["audio"]["input"]["transcription"] == {"model": "echo"}
            await socket.send(append(speech))
            await socket.send(message("input_audio_buffer.commit"))
            done = await hear(socket, "conversation.item.input_audio_transcription.completed")
            assert "weather" in done["transcript"].lower()
    assert children("whisper_child") == before


@needs_weights
async def test_it_starts_once_and_ends_with_its_server() -> None:
    ear, speech = LazyEar(), await spoken("Good morning.")
    before = len(children("whisper_child"))
    words = await asyncio.gather(*(ear.transcribe(speech, "en") for _ in range(3)))
    assert {language for _, language in words} == {"en"}
    assert len(children("whisper_child")) == before + 1
    await ear.close()
    assert len(children("whisper_child")) == before


def test_there_is_none_without_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "is_there", lambda _: False)
    assert find_ear() is None
