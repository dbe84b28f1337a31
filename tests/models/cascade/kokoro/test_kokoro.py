"""The synthesiser, with its weights."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

pytest.importorskip("openvino")
pytest.importorskip("espeakng_loader")
pytest.importorskip("ctranslate2")

from rigs.processes import children
from rigs.recordings import wrong

from duologue import weights
from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, concatenate, silence
from duologue.errors import InvalidSetting
from duologue.models.cascade import kokoro as module
from duologue.models.cascade.kokoro import Kokoro, is_voice
from duologue.models.cascade.whisper import Whisper
from models.cascade.rig import together, until

_MISSING = [name for name in ("kokoro", "misaki-en", "whisper-base") if not weights.is_there(name)]
pytestmark = pytest.mark.skipif(
    bool(_MISSING), reason=f"needs the weights; run: duologue pull {' '.join(_MISSING)}"
)
with_voices = pytest.mark.skipif(
    not weights.is_there("kokoro-voices"), reason="needs: duologue pull kokoro-voices"
)
without_voices = pytest.mark.skipif(
    weights.is_there("kokoro-voices"), reason="kokoro-voices are here"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def voice() -> AsyncIterator[Kokoro]:
    voice = Kokoro()
    await voice.start()
    yield voice
    await voice.close()


async def said(voice: Kokoro, text: str, language: str = "en") -> AudioChunk:
    return concatenate([sound async for sound in voice.speak(text, language)], REPLY_RATE)


def test_a_voice_of_kokoro_has_a_name_of_its_own_kind() -> None:
    assert is_voice("af_heart")
    assert not is_voice("en-us")
    assert not is_voice("en-us+f3")


def test_a_voice_that_is_not_here_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidSetting, match=r"no voice 'af_nobody' here; there are .*af_heart"):
        Kokoro("af_nobody")


def test_a_voice_whose_language_nobody_knows_to_say_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="speaks Japanese or Chinese"):
        Kokoro("jf_alpha")


@without_voices
def test_the_command_that_brings_more_voices_is_told() -> None:
    with pytest.raises(InvalidSetting, match="more: duologue pull kokoro-voices"):
        Kokoro("am_michael")


@together
async def test_what_it_says_is_understood(voice: Kokoro) -> None:
    ear = Whisper("whisper-base")
    await ear.start()
    edge = silence(0.3, INPUT_RATE)
    for text in (
        "The capital of France is Paris.",
        "However, I do not think that this is what you asked for!",
        "Every year, millions of people come to see its museums and bridges.",
    ):
        sound = (await said(voice, text)).at(INPUT_RATE)
        heard = await ear.recognise(concatenate([edge, sound, edge], INPUT_RATE))
        assert wrong(text, heard.words) <= 1, heard
    await ear.close()


@together
async def test_a_clause_has_no_silence_around_it_and_does_not_click(voice: Kokoro) -> None:
    for text in ("Sure.", "Yes, of course,", "The capital of France is Paris."):
        sound = (await said(voice, text)).samples
        loud = np.flatnonzero(np.abs(sound) > 0.01)
        assert loud[0] <= 0.02 * REPLY_RATE
        assert len(sound) - loud[-1] <= 0.02 * REPLY_RATE
        assert np.abs(sound[[0, -1]]).max() < 0.02
        assert 0.2 < np.abs(sound).max() <= 0.91


@together
@pytest.mark.parametrize("text", ["", "🙂🎉", "...", "こんにちは", "***", "\x00"])
async def test_what_cannot_be_spoken_makes_no_sound(voice: Kokoro, text: str) -> None:
    assert (await said(voice, text)).duration == 0


@together
@pytest.mark.parametrize("letter", ["a", "7", "word "], ids=["letters", "figures", "words"])
async def test_a_text_without_a_stop_comes_piece_by_piece_and_can_be_left(
    voice: Kokoro, letter: str
) -> None:
    speech = voice.speak(letter * (10_000 // len(letter)), "en")
    first = await anext(speech)
    assert 0 < first.duration < 20
    await speech.aclose()
    assert (await said(voice, "Sure.")).duration < 2


@together
async def test_who_says_little_need_not_wait_for_who_says_much(voice: Kokoro) -> None:
    done: list[str] = []

    async def say(text: str) -> None:
        await said(voice, text)
        done.append(text[:4])

    much = "This is a long story about a dog and a cat who live by the sea. " * 6
    await asyncio.gather(say(much), say("Sure."))
    assert done == ["Sure", "This"]


@together
async def test_who_is_abandoned_leaves_nothing_for_the_next_one(voice: Kokoro) -> None:
    task = asyncio.ensure_future(said(voice, "This is a long story about a dog."))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    assert (await said(voice, "Sure.")).duration < 2


@together
async def test_a_process_that_dies_is_replaced_and_the_clause_spoken(
    voice: Kokoro, caplog: pytest.LogCaptureFixture
) -> None:
    (process,) = children("kokoro.child")
    process.suspend()
    task = asyncio.ensure_future(said(voice, "Sure."))
    await asyncio.sleep(0.1)
    process.kill()
    assert (await task).duration > 0.3
    assert "the clause is spoken once again" in caplog.text
    await until(lambda: not voice.trouble)


@together
async def test_a_language_that_it_does_not_speak_is_spoken_by_espeak_and_said_once(
    voice: Kokoro, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert (await said(voice, "Guten Tag.", "de")).duration > 0.5
        assert (await said(voice, "Guten Tag.", "de")).duration > 0.5
    assert caplog.text.count("espeak-ng speaks 'de', Kokoro does not") == 1


@with_voices
async def test_a_language_that_it_speaks_is_spoken_by_a_voice_of_it() -> None:
    voice = Kokoro("bf_emma")
    await voice.start()
    assert (await said(voice, "Hello there.")).duration > 0.4
    assert (await said(voice, "Bonjour.", "fr")).duration > 0.3
    assert not voice._told
    await voice.close()


def test_its_voices_are_its_own_and_those_of_espeak_the_usual_one_first() -> None:
    voice = Kokoro()
    assert voice.voices[0] == "af_heart"
    assert {"en-gb", "de"} < set(voice.voices)
    assert len(set(voice.voices)) == len(voice.voices)


async def test_a_voice_that_is_asked_for_speaks_only_what_it_can() -> None:
    voice = Kokoro()
    heart, emma, dora = (Path(f"{name}.bin") for name in ("af_heart", "bf_emma", "ef_dora"))
    voice._voice, voice._voices = "bf_emma", {file.stem: file for file in (heart, emma, dora)}
    assert voice.voices[:3] == ("bf_emma", "af_heart", "ef_dora")
    assert voice._file_for("en", "af_heart") == voice._file_for("", "af_heart") == heart
    assert voice._file_for("en", "ef_dora") == emma
    assert voice._file_for("es", "af_heart") == dora
    assert voice._file_for("de", "af_heart") is None
    with pytest.raises(InvalidSetting, match="no voice 'af_nobody' here"):
        voice._file_for("en", "af_nobody")


async def test_where_it_is_slow_espeak_speaks_and_the_name_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_SLOW", 0.0)
    before = children("kokoro.child")
    voice = Kokoro()
    with caplog.at_level(logging.WARNING):
        await voice.start()
    assert voice.name.startswith("espeak-ng en-us (here; Kokoro takes ")
    assert "espeak-ng speaks in its place" in caplog.text
    assert voice.voices[0] == "en-us"
    assert "af_heart" not in voice.voices
    assert (await said(voice, "Good morning.")).duration > 0.5
    assert children("kokoro.child") == before
    await voice.close()


async def test_where_it_would_be_late_espeak_speaks_the_reply_and_health_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_BUSY", 0.0)  # on any machine one reply is all that it can do
    voice = Kokoro()
    with caplog.at_level(logging.WARNING):
        await voice.start()
        with voice.for_reply() as first:
            assert first is voice
            assert not voice.trouble
            for _ in range(2):
                with voice.for_reply() as second:
                    assert "one reply at once here; espeak-ng speaks the others" in voice.trouble
                    async with aclosing(second.speak("Good morning.", "en")) as sounds:
                        assert (await anext(sounds)).duration > 0.5
                    assert second.name.startswith("espeak-ng")
            assert not voice.trouble
        with voice.for_reply() as third:
            assert third is voice
    assert caplog.text.count("espeak-ng speaks the others") == 1
    await voice.close()


async def test_the_quicker_it_is_the_more_it_speaks_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BUSY", 1000.0)
    voice = Kokoro()
    await voice.start()
    with voice.for_reply() as first, voice.for_reply() as second:
        assert first is second is voice
    await voice.close()


async def test_a_voice_may_be_quick_or_slow() -> None:
    lengths = []
    for speed in (1.5, 0.7):
        voice = Kokoro(speed=speed)
        await voice.start()
        lengths.append((await said(voice, "The capital of France is Paris.")).duration)
        await voice.close()
    assert lengths[0] < 0.7 * lengths[1]


def test_a_voice_of_a_kind_that_there_is_not_is_not_taken_for_japanese() -> None:
    with pytest.raises(InvalidSetting, match="no voice 'xf_nobody' here"):
        Kokoro("xf_nobody")


@with_voices
async def test_the_files_of_the_voices_are_read_through_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    voice = Kokoro()
    await voice.start()
    monkeypatch.setattr(weights, "locate", None)  # it reads them to the end
    assert (await said(voice, "Bonjour.", "fr")).duration > 0.3
    sounds = [sound async for sound in voice.speak("Hello.", "", "am_michael")]
    assert sounds
    await voice.close()
