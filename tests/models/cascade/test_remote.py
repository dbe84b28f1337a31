"""Ears and a voice on servers."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest
import pytest_asyncio

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, concatenate, silence
from duologue.audio.files import read_audio
from duologue.errors import ModelFailed, ModelUnavailable
from duologue.models.cascade.parts import Heard
from duologue.models.cascade.remote import RemoteRecogniser, RemoteSynthesiser
from duologue.models.cascade.servers import ServerPart
from models.cascade.openai_server import KEY, TONE, Behaviour
from models.cascade.rig import left_open, until


@pytest_asyncio.fixture
async def ear(address: str) -> AsyncIterator[RemoteRecogniser]:
    ear = RemoteRecogniser(address, key=KEY)
    await ear.start()
    yield ear
    await ear.close()


@pytest_asyncio.fixture
async def voice(address: str) -> AsyncIterator[RemoteSynthesiser]:
    voice = RemoteSynthesiser(address, key=KEY, speed=1.2)
    await voice.start()
    yield voice
    await voice.close()


async def said(voice: RemoteSynthesiser, words: str = "Hello.") -> AudioChunk:
    return concatenate([sound async for sound in voice.speak(words)], REPLY_RATE)


async def test_an_utterance_is_sent_as_a_file(ear: RemoteRecogniser, behaviour: Behaviour) -> None:
    assert await ear.recognise(silence(1.0, INPUT_RATE)) == Heard("What time is it?")
    (asked,) = behaviour.asked
    assert asked["model"] == "small"  # type: ignore[index]
    assert "language" not in asked  # type: ignore[operator]
    assert read_audio(asked["file"]).duration == 1.0  # type: ignore[index]
    assert await ear.overhear(silence(1.0, INPUT_RATE), "a") == Heard("")
    assert ear.name.startswith("small (at 127.0.0.1:")


async def test_a_fixed_language_and_likely_words_are_told(
    address: str, behaviour: Behaviour
) -> None:
    ear = RemoteRecogniser(address, "small", language="de")
    await ear.start()
    heard = await ear.recognise(silence(1.0, INPUT_RATE), likely="Ja. Genau.")
    assert heard == Heard("What time is it?", "de")
    assert behaviour.asked[0]["language"] == "de"  # type: ignore[index]
    assert behaviour.asked[0]["prompt"] == "Ja. Genau."  # type: ignore[index]
    await ear.close()


async def test_of_many_models_the_one_that_fits_is_taken(
    address: str, behaviour: Behaviour
) -> None:
    behaviour.models = ["llama-3", "whisper-large-v3", "playai-tts"]
    ear, voice = RemoteRecogniser(address), RemoteSynthesiser(address)
    await ear.start()
    await voice.start()
    assert ear.name.startswith("whisper-large-v3 ")
    assert voice.name.startswith("playai-tts alloy ")
    await ear.close()
    await voice.close()
    behaviour.models.append("whisper-tiny")
    ear = RemoteRecogniser(address)
    with pytest.raises(
        ModelUnavailable, match=r"needs --stt-model NAME; it has whisper-large-v3, whisper-tiny$"
    ):
        await ear.start()
    await ear.close()


async def test_speech_comes_as_it_is_made_without_the_silence_around_it(
    voice: RemoteSynthesiser, behaviour: Behaviour
) -> None:
    sounds = [sound async for sound in voice.speak("**Hello** there.")]
    assert len(sounds) > 2
    whole = concatenate(sounds, REPLY_RATE)
    assert whole.duration == pytest.approx(1.0, abs=0.03)
    assert np.abs(whole.samples).max() == pytest.approx(0.5, abs=0.01)
    (asked,) = behaviour.asked
    assert asked == {
        "model": "small",
        "voice": "alloy",
        "input": "Hello there.",
        "speed": 1.2,
        "response_format": "pcm",
    }


async def test_a_server_that_gives_wav_only_is_asked_for_that_from_then_on(
    voice: RemoteSynthesiser, behaviour: Behaviour
) -> None:
    behaviour.how = "no pcm"
    for _ in range(2):
        assert (await said(voice)).duration == pytest.approx(TONE.duration, abs=0.03)
    assert [asked["response_format"] for asked in behaviour.asked] == ["pcm", "wav", "wav"]  # type: ignore[index]


async def test_what_has_no_words_is_not_sent(
    voice: RemoteSynthesiser, ear: RemoteRecogniser, behaviour: Behaviour
) -> None:
    assert (await said(voice, "🙂")).duration == 0
    assert (await ear.recognise(silence(0, INPUT_RATE))).words == ""
    assert behaviour.asked == []


FAILURES = [
    ("other", "answers, but not as OpenAI's"),
    ("html", "answers, but not as OpenAI's API does"),
    ("refuse", "refuses the key; set DUOLOGUE_{flag}_KEY to a right one"),
    ("limit", "is asked too often; it wants to be left alone for 20 s"),
    ("fail", r"failed \(500\); see what it logs"),
    ("echoes the key", r"refused the request \(422\): .*bad request with …"),
    ("no such", "does not know what it is asked for; see whether --{dashed} ends in /v1"),
]


async def fails_in_a_sentence_and_is_tried_again(
    part: ServerPart,
    name: str,
    use: Callable[[], Awaitable[str | float]],
    behaviour: Behaviour,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        caplog.at_level(logging.DEBUG, "duologue"),
        pytest.raises(ModelFailed, match=rf"^the {name} at 127\.0\.0\.1:\d+ {sentence}") as failed,
    ):
        await use()
    assert part.trouble == str(failed.value)
    assert KEY not in caplog.text + str(failed.value)
    behaviour.how = "well"
    assert await use()
    assert part.trouble == ""


@pytest.mark.parametrize(("how", "sentence"), FAILURES)
async def test_an_ear_that_fails_is_one_sentence_and_the_next_turn_tries_again(
    ear: RemoteRecogniser,
    behaviour: Behaviour,
    how: str,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def words() -> str:
        return (await ear.recognise(silence(1.0, INPUT_RATE))).words

    behaviour.how = how
    expected = sentence.format(flag="STT", dashed="stt")
    await fails_in_a_sentence_and_is_tried_again(
        ear, "recogniser", words, behaviour, expected, caplog
    )


@pytest.mark.parametrize(("how", "sentence"), [*FAILURES, ("cut", "broke off")])
async def test_a_voice_that_fails_is_one_sentence_and_the_next_turn_tries_again(
    voice: RemoteSynthesiser,
    behaviour: Behaviour,
    how: str,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def seconds() -> float:
        return (await said(voice)).duration

    behaviour.how = how
    expected = sentence.format(flag="TTS", dashed="tts")
    await fails_in_a_sentence_and_is_tried_again(
        voice, "synthesiser", seconds, behaviour, expected, caplog
    )


async def test_what_passes_is_tried_again(
    voice: RemoteSynthesiser, ear: RemoteRecogniser, behaviour: Behaviour
) -> None:
    behaviour.how, behaviour.times = "fail", 1
    assert (await said(voice)).duration
    behaviour.times = 1
    assert (await ear.recognise(silence(1.0, INPUT_RATE))).words
    assert len(behaviour.asked) == 4


async def test_speech_without_an_end_is_a_failure(
    voice: RemoteSynthesiser, behaviour: Behaviour
) -> None:
    behaviour.how = "endless"
    with pytest.raises(ModelFailed, match="gives sound without an end; take another --tts-model"):
        await said(voice)


async def test_speech_that_is_abandoned_is_stopped_at_the_server(
    voice: RemoteSynthesiser, behaviour: Behaviour
) -> None:
    behaviour.how = "endless"
    with left_open() as streams:
        speech = voice.speak("Hello.")
        await anext(speech)
        assert behaviour.given == 0
        await speech.aclose()
        await until(lambda: behaviour.given == 1)
    assert streams == []


async def test_a_voice_that_is_refused_costs_the_next_clause_no_raw_sound(
    voice: RemoteSynthesiser, behaviour: Behaviour
) -> None:
    behaviour.how = "no such voice"
    with pytest.raises(ModelFailed, match=r"refused the request \(400\): .*no such voice"):
        await said(voice)
    behaviour.how = "well"
    await said(voice)
    assert [asked["response_format"] for asked in behaviour.asked] == ["pcm", "wav", "pcm"]  # type: ignore[index]
