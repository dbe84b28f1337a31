"""Taking turns in a real browser, with real speech: pauses, interruptions, echo, patience."""

import re
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from playwright.async_api import expect
from rigs.browser import Page

from browser.conftest import Open, ServePage
from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, Samples, concatenate
from duologue.conversation.items import ReplyChunk
from duologue.testing import ScriptedModel, say
from transports.chats import Gate

pytestmark = pytest.mark.asyncio(loop_scope="session")

Questions = list[AudioChunk]

_LONG = [say(word) for word in ("One", " two", " three", " four", " five", " six")]
_ENDLESS = [*_LONG, *[say(" and more")] * 24]  # of which a test hears the first few seconds


def _room(seconds: float) -> AudioChunk:
    noise = np.random.default_rng(1).normal(0, 3e-4, round(seconds * INPUT_RATE))
    return AudioChunk(noise.astype(np.float32), INPUT_RATE)


def _halves(question: AudioChunk) -> tuple[AudioChunk, AudioChunk]:
    """A question in two, at its loudest place near the middle."""
    question = question.at(INPUT_RATE)
    power = np.convolve(question.samples**2, np.ones(1024), "same")
    third = len(power) // 3
    place = (third + int(np.argmax(power[third:-third]))) / INPUT_RATE
    return question.between(0, place), question.between(place, question.duration)


def _short(question: AudioChunk, seconds: float = 0.128) -> AudioChunk:
    """So much of it, from its loudest part: a sound as short as a cough, or as a nod."""
    samples = question.at(INPUT_RATE).samples
    count = round(seconds * INPUT_RATE)
    loudest = int(np.argmax(np.convolve(samples**2, np.ones(count), "valid")))
    return AudioChunk(samples[loudest : loudest + count], INPUT_RATE)


def _spoken(question: AudioChunk) -> AudioChunk:
    """A question without the silence before its first word."""
    loud = np.abs(question.samples) > 0.1 * np.abs(question.samples).max()
    return question.between(float(np.argmax(loud)) / question.rate, question.duration)


async def _sent(page: Page, way: str, kind: str) -> list[dict[str, Any]]:
    """The events of one type that went `in` or `out`."""
    events = [entry[way] for entry in await page.log() if way in entry]
    return [event for event in events if event["type"] == kind]


def _levels(samples: Samples, rate: int) -> Samples:
    """Of each hundredth of a second."""
    size = rate // 100
    whole = samples[: len(samples) // size * size].reshape(-1, size)
    return np.asarray(np.sqrt(np.mean(whole**2, axis=1)), np.float32)


# Pauses.


async def test_a_sentence_with_a_pause_inside_is_one_turn(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    first, second = _halves(questions[2])
    page = await open_tab(serve_page())
    await page.start()
    # Long enough that a reply is begun, too short to end a turn, whatever Smart Turn thinks of it.
    times = await page.talk(concatenate([first, _room(0.45), second], INPUT_RATE))
    assert times.silence == pytest.approx(times.wait, abs=0.25)
    assert len(await _sent(page, "in", "input_audio_buffer.speech_started")) == 1
    assert await _sent(page, "in", "conversation.item.deleted") == []
    await expect(page.bubbles).to_have_count(2)


async def test_who_goes_on_while_it_thinks_is_not_answered_before_the_end(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    gate = Gate(0)
    model = ScriptedModel([say("Fine", 0.5)], gate=gate)
    page = await open_tab(serve_page(model))
    await page.start()
    await page.say(questions[0])
    await page.reach("thinking")
    await page.say(questions[1])
    await page.hear_of("input_audio_buffer.speech_started", 2)
    await page.reach("thinking")
    assert await _sent(page, "in", "response.output_audio.delta") == []
    gate.open()
    await page.reach("speaking")
    await page.reach("listening")
    started = await _sent(page, "in", "input_audio_buffer.speech_started")
    assert len(started) == 2
    assert started[0]["item_id"] == started[1]["item_id"]
    assert len(await _sent(page, "in", "input_audio_buffer.committed")) == 1
    (heard,) = (await page.track("speaker")).sounds()
    assert heard.seconds == pytest.approx(0.5, abs=0.01)
    await expect(page.bubbles).to_have_count(2)
    *dropped, prompt = model.prompts
    assert model.abandoned == len(dropped)  # before their first word
    assert prompt.utterance.duration > 0.8 * (questions[0].duration + questions[1].duration)


async def test_who_goes_on_as_the_reply_begins_gets_one_turn_of_both_halves(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    model = ScriptedModel(_LONG[:2])
    page = await open_tab(serve_page(model))
    await page.start()
    await page.say(questions[0])
    rest = _spoken(questions[1])
    await page.say(rest, at="speaking")
    await page.hear_of("input_audio_buffer.speech_started", 2)
    await page.reach("speaking")
    await page.reach("listening")
    assert len(await _sent(page, "in", "conversation.item.deleted")) == 2
    assert await _sent(page, "out", "conversation.item.truncate") == []
    assert await _sent(page, "in", "error") == []
    await expect(page.bubbles).to_have_count(2)
    await expect(page.bubbles.nth(1)).to_contain_text("One two")
    assert [len(prompt.items) for prompt in model.prompts] == [0] * len(model.prompts)
    both = questions[0].duration + rest.duration
    assert model.prompts[-1].utterance.duration > 0.8 * both


# Interruptions.


async def test_a_short_sound_makes_the_reply_quieter_for_a_moment_and_nothing_is_lost(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG)))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.let_pass(1.2)
    await page.say(_short(questions[0]))
    await page.hear_of("duologue.reply.restored")
    await page.reach("listening")
    states = [e for e in await page.log() if {"state", "ducked"} & e.keys()]
    speaking = next(number for number, e in enumerate(states) if e.get("state") == "speaking")
    assert [e.get("ducked", e.get("state")) for e in states[speaking:]] == [
        *("speaking", True, False, "listening")
    ]
    await expect(page.bubbles.nth(1)).to_contain_text(
        re.compile("One two three four five six$", re.M)
    )
    assert await _sent(page, "out", "conversation.item.truncate") == []

    (heard,) = (await page.track("speaker")).sounds()
    assert heard.seconds == pytest.approx(6, abs=0.01)


async def test_a_reply_that_is_ducked_is_played_quietly_and_back_at_full_level_without_an_edge(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG)))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    (item,) = {e["item_id"] for e in await _sent(page, "in", "response.output_audio.delta")}
    await page.let_pass(0.5)
    await page.receive(type="duologue.reply.ducked", item_id=item)
    await page.let_pass(0.5)
    await page.receive(type="duologue.reply.restored", item_id=item)
    await page.reach("listening")
    (heard,) = (await page.track("speaker")).sounds()
    levels = _levels(heard.samples, heard.rate) / (0.3 / np.sqrt(2))  # of a tone of `say`
    named = np.where(levels > 0.9, "full", np.where(levels < 1.1 * 10 ** (-15 / 20), "low", "ramp"))
    shape = [(name, len([*hundredths])) for name, hundredths in groupby(named)]
    assert [name for name, _ in shape] == ["full", "ramp", "low", "ramp", "full"]
    assert shape[1][1] <= 6  # ramps of 0.05 s down
    assert shape[3][1] <= 11  # and of 0.1 s up
    # The ramps have no edge: a step between two samples would be a click.
    steepest = 2 * np.pi * 220 / REPLY_RATE * 0.3
    assert np.abs(np.diff(heard.samples)).max() < 1.1 * steepest


async def test_a_reply_that_is_held_is_silent_and_nothing_of_it_is_lost(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG)))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    (item,) = {e["item_id"] for e in await _sent(page, "in", "response.output_audio.delta")}
    await page.let_pass(0.5)
    await page.receive(type="duologue.reply.ducked", item_id=item)
    await page.receive(type="duologue.reply.held", item_id=item)
    await page.let_pass(0.7)
    await page.receive(type="duologue.reply.restored", item_id=item)
    await page.reach("listening")
    before, after = (await page.track("speaker")).sounds()
    assert before.seconds + after.seconds == pytest.approx(6, abs=0.05)


async def test_a_nod_lets_the_reply_go_on_to_its_end(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG, transcript="Uh-huh.")))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.let_pass(1.2)
    await page.say(_short(questions[0], 0.5))
    await page.hear_of("duologue.reply.held")
    await page.hear_of("duologue.reply.restored")
    await page.reach("listening")
    assert len(await _sent(page, "in", "input_audio_buffer.speech_started")) == 1
    assert await _sent(page, "out", "conversation.item.truncate") == []
    assert len(await _sent(page, "in", "response.created")) == 1
    heard = [_levels(sound.samples, sound.rate) for sound in (await page.track("speaker")).sounds()]
    audible = np.count_nonzero(np.concatenate(heard) > 0.01) / 100
    assert audible == pytest.approx(6, abs=0.1)
    await expect(page.bubbles).to_have_count(2)
    nod = page.bubbles.nth(1).locator(".nod")
    await expect(nod).to_have_count(1)
    await expect(nod).to_be_hidden()
    await page.tab.get_by_label("Show what I said meanwhile").check()
    await expect(nod).to_contain_text("Uh-huh.")
    await nod.get_by_role("button").click()
    await expect(nod.locator("audio")).to_have_js_property("paused", value=False)
    assert await nod.locator("audio").evaluate("player => player.duration") > 0.5
    await page.tab.reload()
    await expect(nod).to_be_visible()


async def test_a_word_that_is_no_nod_stops_the_reply_where_it_was_held(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_ENDLESS, transcript="Wait.")))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.let_pass(1.2)
    await page.say(_short(questions[0], 0.5))
    await page.hear_of("duologue.reply.held")
    await page.hear_of("input_audio_buffer.speech_started", 2)
    assert await _sent(page, "in", "duologue.reply.restored") == []
    await page.reach("speaking")
    heard, *_ = (await page.track("speaker")).sounds()
    (cut,) = await _sent(page, "out", "conversation.item.truncate")
    assert cut["audio_end_ms"] == pytest.approx(1000 * heard.seconds, abs=60)


async def test_an_interrupted_reply_goes_on_with_one_click(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    story = [say("One. ", 3), say("Two", 1.5), say(" three. ", 1.5), say("Four.")]
    page = await open_tab(serve_page(ScriptedModel(story)))
    await page.start()
    button = page.root.get_by_role("button", name="Let it go on")
    await page.say(questions[0])
    await page.reach("speaking")
    await page.let_pass(3.8)
    await expect(button).to_be_hidden()
    await page.say(questions[1])
    await page.hear_of("input_audio_buffer.speech_started", 2)
    await expect(button).to_be_visible()
    await page.reach("speaking")  # the answer
    await button.click()
    await expect(button).to_be_hidden()
    await page.hear_of("response.created", 3)
    await page.reach("speaking")
    await page.reach("listening")
    assert await _sent(page, "in", "error") == []
    done = await _sent(page, "in", "response.output_audio_transcript.done")
    assert done[-1]["transcript"] == "Two three. Four."
    heard = (await page.track("speaker")).sounds()[-1]
    assert 3.95 < heard.seconds < 4.5  # a moment of the answer may be before it


async def test_a_reply_that_follows_a_ducked_one_begins_at_full_level(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_ENDLESS)))
    await page.start()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.let_pass(1.2)
    await page.say(questions[1])
    await page.hear_of("input_audio_buffer.speech_started", 2)
    assert len(await _sent(page, "in", "duologue.reply.ducked")) == 1
    await page.reach("speaking")
    assert await page.root.get_attribute("data-ducked") is None
    await page.let_pass(0.6)
    _, heard = (await page.track("speaker")).sounds()
    levels = _levels(heard.samples[: round(0.3 * heard.rate)], heard.rate)
    assert levels == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
    await page.stop()


async def test_the_microphone_is_sent_in_smaller_pieces_during_a_reply(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_LONG[:2])))
    await page.start()
    await page.talk(questions[0])
    await page.let_pass(0.4)
    log = await page.log()
    sizes = [
        (number, round(entry["out"]["audio"] * 3 // 4 // 2 / REPLY_RATE, 3))
        for number, entry in enumerate(log)
        if entry.get("out", {}).get("type") == "input_audio_buffer.append"
    ]
    changes = [next(group) for _, group in groupby(sizes, lambda entry: entry[1])]
    assert [size for _, size in changes] == [0.04, 0.011, 0.04]
    speaking, listening = (
        [number for number, entry in enumerate(log) if entry.get("state") == state][-1]
        for state in ("speaking", "listening")
    )
    assert speaking < changes[1][0] < listening < changes[2][0]


async def test_a_reply_that_comes_back_into_the_microphone_is_stopped_by_the_user_only(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    speech = concatenate([question.at(REPLY_RATE) for question in questions * 2], REPLY_RATE)
    page = await open_tab(serve_page(ScriptedModel([ReplyChunk(speech)])), script="rig.echo = -20;")
    await page.start()
    times = await page.talk(questions[0])
    assert times.heard == pytest.approx(speech.duration, abs=1)
    assert len(await _sent(page, "in", "input_audio_buffer.speech_started")) == 1
    flags = [event.get("echo") for event in await _sent(page, "out", "input_audio_buffer.append")]
    assert flags.count(True) > 50

    await page.say(questions[2])
    await page.reach("speaking")
    await page.let_pass(1.5)
    assert len(await _sent(page, "in", "input_audio_buffer.speech_started")) == 2
    await page.say(questions[0])
    await page.hear_of("input_audio_buffer.speech_started", 3)
    await page.hear_of("conversation.item.truncated")
    (cut,) = await _sent(page, "out", "conversation.item.truncate")
    assert 1500 < cut["audio_end_ms"] < 1000 * speech.duration - 500
    await page.stop()


# What the page tells.


async def test_the_page_tells_when_a_reply_was_first_heard_and_shows_how_long_that_took(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    latency = 0.2  # seconds from the page to the ear
    far = f"Object.defineProperty(AudioContext.prototype, 'outputLatency', {{ value: {latency} }});"
    page = await open_tab(serve_page(ScriptedModel([say("Fine.", 2.0)])), script=far)
    await page.start()
    times = await page.talk(questions[0])
    log = await page.log()
    ((number, report),) = (
        (number, entry["out"])
        for number, entry in enumerate(log)
        if entry.get("out", {}).get("type") == "duologue.playback.started"
    )
    assert report["item_id"].startswith("item_a")
    speaker = await page.track("speaker")
    (heard,) = speaker.sounds()
    began = (speaker.frame + heard.first) / speaker.rate
    # By the clock of the sound: the page looked at it between the entry before and the report.
    earliest, latest = (log[n]["clock"] - report["ago_ms"] / 1000 for n in (number - 1, number))
    quantum = 128 / speaker.rate
    assert earliest - quantum < began + latency
    # With 0, the timer was early: a busy machine had rendered less by then than it should have.
    assert report["ago_ms"] == 0 or began + latency < latest + quantum
    await expect(page.bubbles.nth(1)).to_contain_text("s after your last word")
    words = await page.bubbles.nth(1).inner_text()
    told = re.search(r"([\d.]+) s after your last word · .*heard ([\d.]+) s", words)
    assert told
    assert float(told[1]) > times.wait
    assert float(told[2]) == 2.0


# Patience.


async def _eagerness(page: Page) -> str:
    update = (await _sent(page, "out", "session.update"))[-1]
    detection: dict[str, Any] = update["session"]["audio"]["input"]["turn_detection"]
    return str(detection.get("eagerness") or detection["type"])


async def test_the_patience_is_the_servers_until_the_user_chooses_and_is_remembered(
    serve_page: ServePage, open_tab: Open
) -> None:
    page = await open_tab(serve_page(patience="quick"))
    choice = page.root.get_by_label("Wait for me")
    await expect(choice).to_have_value("quick")
    await page.start()
    assert await _eagerness(page) == "high"
    await choice.select_option("patiently")
    assert await _eagerness(page) == "low"
    await page.hear_of("session.updated", 2)
    told = (await _sent(page, "in", "session.updated"))[-1]
    assert told["session"]["audio"]["input"]["turn_detection"]["eagerness"] == "low"
    await page.tab.reload()
    await page.tab.wait_for_selector("section.voice .talk:enabled")
    await expect(choice).to_have_value("patient")
    await page.start()
    assert await _eagerness(page) == "low"


async def test_with_a_fixed_silence_there_is_nothing_to_choose(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(patience="fixed"))
    await expect(page.root.get_by_label("Wait for me")).to_be_hidden()
    await page.start()
    assert await _eagerness(page) == "server_vad"
    times = await page.talk(questions[0])
    assert times.wait == 0.5
    assert times.silence == pytest.approx(times.wait, abs=0.25)


async def test_you_cut_me_off_stops_the_reply_and_makes_the_server_wait_longer(
    serve_page: ServePage, open_tab: Open, questions: Questions
) -> None:
    page = await open_tab(serve_page(ScriptedModel(_ENDLESS)))
    button = page.root.get_by_role("button", name="You cut me off")
    status = page.root.get_by_role("status")
    await expect(button).to_be_hidden()
    await page.start()
    await expect(button).to_be_hidden()
    await page.say(questions[0])
    await page.reach("speaking")
    await page.let_pass(1)
    await button.click()
    await page.reach("listening")
    await expect(status).to_have_text("Noted: I will wait longer for you.")
    await expect(button).to_be_disabled()  # not twice for one turn
    await page.hear_of("conversation.item.truncated")
    log = await page.log()
    marked = [e.get("out", {}).get("type") for e in log].index("duologue.cut.marked")
    told = [
        e.get("player") or e["out"]["type"] for e in log[marked:] if {"player", "out"} & e.keys()
    ]
    assert told[:3] == ["duologue.cut.marked", "response.cancel", "clear"]  # in the click itself
    (heard,) = (await page.track("speaker")).sounds()
    (cut,) = await _sent(page, "out", "conversation.item.truncate")
    assert cut["audio_end_ms"] / 1000 == pytest.approx(heard.seconds, abs=0.02)
    await expect(page.bubbles.nth(1)).to_contain_text("cut you off")
    await expect(page.bubbles.nth(1)).to_contain_text("interrupted")
    await expect(status).to_have_text("Listening. Just talk.")
    await page.say(questions[1])
    await page.reach("speaking")
    await expect(button).to_be_enabled()
    assert len(await _sent(page, "out", "duologue.cut.marked")) == 1
    assert await _sent(page, "in", "error") == []
    await page.stop()
    await expect(button).to_be_hidden()
