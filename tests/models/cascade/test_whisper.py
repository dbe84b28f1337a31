"""The recogniser, with its weights and people who speak."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

pytest.importorskip("ctranslate2")
pytest.importorskip("espeakng_loader")

from rigs.noises import NOISES
from rigs.processes import children
from rigs.recordings import QUESTIONS, RECORDINGS, recordings, words, wrong

from duologue import weights
from duologue.audio import INPUT_RATE, AudioChunk, concatenate, silence
from duologue.audio.files import read_audio
from duologue.errors import InvalidSetting, ModelUnavailable
from duologue.models.cascade import whisper as module
from duologue.models.cascade.whisper import LANGUAGES, Whisper
from duologue.turns.words import likely
from models.cascade.rig import abandon, needs_weights, spoken, together, until

pytestmark = needs_weights

QUESTION = "What is the weather like today?"
GERMAN = "Ich möchte bitte einen Kaffee mit Milch, und dazu ein Stück Kuchen."
STORY = (
    "Once upon a time there was a little dog who lived in a small house by the sea. "
    "Every morning he walked along the beach and looked for shells. "
    "One day he found a message in a bottle."
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whisper() -> AsyncIterator[Whisper]:
    whisper = Whisper("whisper-base")
    await whisper.start()
    yield whisper
    await whisper.close()


def grown(sound: AudioChunk, seconds: float) -> list[AudioChunk]:
    """An utterance as it is after so many seconds, twice as many, and so on, to its end."""
    step = round(seconds * INPUT_RATE)
    ends = [*range(step, len(sound.samples), step), len(sound.samples)]
    return [AudioChunk(sound.samples[:end], INPUT_RATE) for end in ends]


def louder(sound: AudioChunk, gain: float) -> AudioChunk:
    return AudioChunk(np.clip(sound.samples * gain, -1, 1), INPUT_RATE)


@together
async def test_an_utterance_leaves_no_trace_in_the_next(
    whisper: Whisper, speech: AudioChunk
) -> None:
    first = await whisper.recognise(speech)
    await whisper.recognise(await spoken(STORY))
    assert words(first.words) == words(QUESTION)
    assert first.language == "en"
    assert [await whisper.recognise(speech) for _ in range(2)] == [first, first]


@together
@pytest.mark.parametrize("gain", [0.03, 0.1, 20.0], ids=["far", "soft", "shouted and clipped"])
async def test_the_loudness_hardly_matters(
    whisper: Whisper, speech: AudioChunk, gain: float
) -> None:
    assert wrong(QUESTION, (await whisper.recognise(louder(speech, gain))).words) <= 2


@together
async def test_a_whispered_question_is_heard(whisper: Whisper) -> None:
    question, exact = "What is the capital of France?", 0
    for _ in range(
        9
    ):  # a whisper is noise, another one each time: one in 12 was "… the capital at first?"
        heard = await whisper.recognise(await spoken(question, "en-us+whisper"))
        exact += words(heard.words) == words(question)
    assert exact >= 5


@together
@pytest.mark.parametrize("seconds", [0.4, 2.0, 9.0])
@pytest.mark.parametrize("noise", NOISES)
async def test_a_noise_has_no_words(whisper: Whisper, noise: str, seconds: float) -> None:
    assert (await whisper.recognise(NOISES[noise](seconds))).words == ""


@together
async def test_a_minute_of_music_at_once_has_no_words(whisper: Whisper) -> None:
    assert (await whisper.recognise(NOISES["music"](60))).words == ""


@together
@pytest.mark.parametrize("samples", [0, 1, 160, 4000])
async def test_hardly_any_sound_has_no_words(whisper: Whisper, samples: int) -> None:
    rng = np.random.default_rng(0)
    sound = AudioChunk(rng.uniform(-1, 1, samples).astype(np.float32), INPUT_RATE)
    assert (await whisper.recognise(sound)).words == ""


@together
async def test_another_language_is_heard_and_told(whisper: Whisper) -> None:
    heard = await whisper.recognise(await spoken(GERMAN, "de"))
    assert heard.language == "de"
    assert "kaffee" in words(heard.words)


@together
async def test_the_language_follows_the_user_and_an_accent_is_no_other_language(
    whisper: Whisper, shared: Path
) -> None:
    german = await spoken(GERMAN, "de")
    english = [read_audio(shared / f"audio/question{number}.wav") for number in (2, 3, 4)]
    for sounds, language in (([german], "de"), (english, "en"), ([german], "de"), (english, "en")):
        for sound in sounds:
            heard = await whisper.recognise(sound.at(INPUT_RATE), "caller")
            assert heard.language == language, heard


@together
@pytest.mark.parametrize(
    ("said", "voice", "language", "alone"),
    [
        ("Sure.", "en-gb", "en", "swat"),
        ("Got it.", "en-gb", "en", "drop it"),
        ("Vale.", "es", "es", "pale"),
        ("Stop.", "en-us", "en", "stop"),
    ],
)
async def test_words_that_are_likely_are_heard_where_they_are_said(
    said: str, voice: str, language: str, alone: str, whisper: Whisper
) -> None:
    sound = await spoken(said, voice, 0.2)
    assert words((await whisper.recognise(sound, language=language)).words) == alone.split()
    heard = await whisper.recognise(sound, language=language, likely=likely(language))
    assert heard.words == said


@together
async def test_words_that_are_not_likely_are_heard_where_they_are_said(whisper: Whisper) -> None:
    sound = await spoken(QUESTION)
    heard = await whisper.recognise(sound, language="en", likely="Sure. " * 300)
    assert words(heard.words) == words(QUESTION)


async def test_a_language_can_be_fixed() -> None:
    whisper = Whisper("whisper-base", "de")
    await whisper.start()
    heard = await whisper.recognise(await spoken(GERMAN, "de"))
    await whisper.close()
    assert heard.language == "de"
    assert wrong(GERMAN, heard.words) <= 3


@together
async def test_a_language_can_be_fixed_for_one_utterance(
    whisper: Whisper, speech: AudioChunk
) -> None:
    assert (await whisper.recognise(speech, language="de")).language == "de"
    assert (await whisper.recognise(speech)).language == "en"


@together
@pytest.mark.parametrize("language", ["xx", "english", "EN", "<|de|>"])
async def test_a_language_that_it_does_not_know_is_refused(
    whisper: Whisper, speech: AudioChunk, language: str
) -> None:
    with pytest.raises(
        InvalidSetting, match="whisper-base hears languages such as en, de and zh, not"
    ):
        await whisper.recognise(speech, language=language)
    with pytest.raises(InvalidSetting, match="whisper-base hears languages such as"):
        Whisper("whisper-base", language)


def test_its_languages_are_those_of_its_weights() -> None:
    tokens = json.loads((weights.locate("whisper-base") / "tokenizer.json").read_text("utf-8"))
    ids = {token["content"]: token["id"] for token in tokens["added_tokens"]}
    first, behind = ids["<|startoftranscript|>"] + 1, ids["<|translate|>"]
    assert sorted(ids[f"<|{language}|>"] for language in LANGUAGES) == list(range(first, behind))


def test_the_smaller_network_refuses_what_is_not_english() -> None:
    if not weights.is_there("whisper-tiny.en"):
        pytest.skip("needs the weights; run: duologue pull whisper-tiny.en")
    with pytest.raises(InvalidSetting, match=r"whisper-tiny\.en hears en, not 'de'"):
        Whisper("whisper-tiny.en", "de")


@together
async def test_words_are_heard_while_they_are_spoken(whisper: Whisper) -> None:
    story = await spoken(STORY)
    told = [(await whisper.overhear(sound, "a")).words for sound in grown(story, 1.0)]
    heard = (await whisper.recognise(story, "a")).words
    assert len(told[len(told) // 2].split()) > 5
    # Nearly all that was told so early stands; a synthesised voice is not easy to hear.
    for text in told[:-1]:
        count = len(text.split())
        assert wrong(text, " ".join(heard.split()[:count])) <= 1 + count // 5
    assert wrong(STORY, heard) <= len(words(STORY)) // 5


@together
async def test_what_was_heard_in_a_pause_is_not_worked_out_again(
    whisper: Whisper, speech: AudioChunk
) -> None:
    paused = concatenate([speech, silence(0.2, INPUT_RATE)], INPUT_RATE)
    assert words((await whisper.overhear(paused, "b")).words) == words(QUESTION)
    (process,) = children("whisper_child")
    process.suspend()  # nothing can be worked out now
    longer = concatenate([paused, silence(0.5, INPUT_RATE)], INPUT_RATE)
    heard = await whisper.recognise(longer, "b")
    process.resume()
    assert words(heard.words) == words(QUESTION)


@together
async def test_what_is_just_being_worked_out_is_waited_for_and_not_begun_again(
    whisper: Whisper, speech: AudioChunk
) -> None:
    paused = concatenate([speech, silence(0.2, INPUT_RATE)], INPUT_RATE)
    (process,) = children("whisper_child")
    process.suspend()
    task = asyncio.ensure_future(whisper.overhear(paused, "d"))
    await asyncio.sleep(0.2)
    await abandon(task)  # as when the turn has ended
    longer = concatenate([paused, silence(0.5, INPUT_RATE)], INPUT_RATE)
    final = asyncio.ensure_future(whisper.recognise(longer, "d"))
    await asyncio.sleep(0.2)
    assert not whisper._waiting
    process.resume()
    assert words((await final).words) == words(QUESTION)


@together
async def test_the_next_utterance_of_a_listener_begins_anew(
    whisper: Whisper, speech: AudioChunk
) -> None:
    await whisper.overhear(await spoken(STORY), "c")
    assert words((await whisper.recognise(speech, "c")).words) == words(QUESTION)


@together
async def test_an_utterance_that_is_over_goes_before_those_that_go_on(
    whisper: Whisper, speech: AudioChunk
) -> None:
    story = await spoken(STORY)
    done: list[str] = []

    async def hear(name: str) -> None:
        if name == "over":
            await whisper.recognise(speech)
        else:
            await whisper.overhear(louder(story, float(name) / 10), name)
        done.append(name)

    paused = [str(number) for number in range(3, 8)]
    tasks = [asyncio.ensure_future(hear(name)) for name in paused]
    await asyncio.sleep(0)
    tasks.append(asyncio.ensure_future(hear("over")))
    await asyncio.gather(*tasks)
    assert done.index("over") <= 1  # one may have begun


@together
async def test_where_looks_take_long_only_pauses_are_looked_at(
    whisper: Whisper, speech: AudioChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_QUICK", -1.0)
    (process,) = children("whisper_child")
    process.suspend()  # who asks it waits
    middle = speech.between(0, 1.0)
    assert np.abs(middle.samples[-1024:]).max() > 0.05
    assert (await whisper.overhear(middle, "e")).words == ""
    process.resume()
    paused = concatenate([speech, silence(0.2, INPUT_RATE)], INPUT_RATE)
    assert words((await whisper.overhear(paused, "e")).words) == words(QUESTION)


@together
async def test_a_look_that_nobody_waits_for_harms_nobody(
    whisper: Whisper, speech: AudioChunk
) -> None:
    tasks = [asyncio.ensure_future(whisper.recognise(speech)) for _ in range(4)]
    await asyncio.sleep(0.05)
    for task in tasks[:3]:
        await abandon(task)
    assert words((await tasks[3]).words) == words(QUESTION)


@together
async def test_a_process_that_dies_is_replaced_and_the_utterance_heard(
    whisper: Whisper, speech: AudioChunk, caplog: pytest.LogCaptureFixture
) -> None:
    (process,) = children("whisper_child")
    process.suspend()
    task = asyncio.ensure_future(whisper.recognise(speech))
    await asyncio.sleep(0.1)
    process.kill()
    assert words((await task).words) == words(QUESTION)
    assert "the utterance is recognised once again" in caplog.text
    await until(lambda: not whisper.trouble)


async def test_where_it_is_slow_the_smaller_network_is_taken_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, speech: AudioChunk
) -> None:
    if not weights.is_there("whisper-tiny.en"):
        pytest.skip("needs the weights; run: duologue pull whisper-tiny.en")
    monkeypatch.setattr(module, "_SLOW", 0.0)
    whisper = Whisper()
    with caplog.at_level(logging.WARNING):
        await whisper.start()
    heard = await whisper.recognise(speech)
    await whisper.close()
    assert whisper.name == "Whisper Tiny.en (here)"
    assert "whisper-tiny.en, which hears English only and less well, is taken" in caplog.text
    assert wrong(QUESTION, heard.words) <= 1


async def test_where_the_smaller_network_is_not_there_it_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    locate = weights.locate

    def without_tiny(name: str) -> Path:
        if name == "whisper-tiny.en":
            raise ModelUnavailable("it is not there")
        return locate(name)

    monkeypatch.setattr(module, "_SLOW", 0.0)
    monkeypatch.setattr(weights, "locate", without_tiny)
    whisper = Whisper()
    with caplog.at_level(logging.WARNING):
        await whisper.start()
    await whisper.close()
    assert whisper.name == "Whisper Base (here)"
    assert "a quicker one: duologue pull whisper-tiny.en" in caplog.text


@together
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="needs apt install pocketsphinx-testdata")
async def test_of_recorded_words_at_most_five_in_a_hundred_are_wrong(whisper: Whisper) -> None:
    clips = recordings()
    heard = [(await whisper.recognise(sound)).words for _, sound in clips]
    errors = sum(wrong(said, text) for (said, _), text in zip(clips, heard, strict=True))
    assert errors / sum(len(words(said)) for said, _ in clips) <= 0.05, heard


@together
async def test_the_recorded_questions_are_heard_exactly(whisper: Whisper, shared: Path) -> None:
    paths = [shared / f"audio/question{number}.wav" for number in range(1, len(QUESTIONS) + 1)]
    heard = [(await whisper.recognise(read_audio(path).at(INPUT_RATE))).words for path in paths]
    assert heard == list(QUESTIONS)
