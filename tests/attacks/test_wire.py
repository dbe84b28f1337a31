"""The fuzz of the wire: whatever is sent, the session goes on, and says in a sentence what was wrong."""

import asyncio
import base64
import json
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from calls import call
from conftest import Serve
from conversation.test_dialogue import check_told
from duologue.audio import REPLY_RATE, Downsampler, from_pcm16, silence
from duologue.conversation.events import (
    AudioReceived,
    ClientErred,
    ClientEvent,
    ErrorOccurred,
    SettingsApplied,
    SettingsChanged,
)
from duologue.errors import InvalidEvent
from duologue.server.app import Uvicorn
from duologue.session.session import Limits
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, tone
from duologue.transports.realtime.decode import decode_message
from duologue.transports.realtime.encode import Encoder
from transports.realtime.messages import append, message, update
from transports.realtime.test_endpoint import sessions_become

SENTENCE = 500  # characters of the longest error: that which lists the events that are known

VALID = [
    append(tone(0.2, REPLY_RATE)),
    append(silence(0.5, REPLY_RATE), echo=True),
    update(threshold=0.4, silence_duration_ms=300, idle_timeout_ms=5000),
    update("semantic_vad", eagerness="high", create_response=False, interrupt_response=False),
    message("session.update", session={"type": "realtime", "instructions": "Be brief."}),
    message(
        "session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    ),
    message("input_audio_buffer.commit", event_id="evt_1"),
    message("input_audio_buffer.clear"),
    message("conversation.item.truncate", item_id="item_a1", content_index=0, audio_end_ms=10),
    message("response.create", response={"instructions": "Sing.", "metadata": {"a": "b"}}),
    message("response.cancel", response_id="resp_1"),
    message("duologue.playback.started", item_id="item_a1", ago_ms=40),
    message("duologue.cut.marked"),
]

VALUES = [
    *("null", "true", "0", "-1", "1e999", "NaN", "-Infinity", "1" * 400, "1" * 5000, "1e-400"),
    *('""', '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\U0001f40b"', '"' + "x" * 3000 + '"'),
    *("[]", "{}", "[[[[{}]]]]", "[" * 2000 + "]" * 2000, '{"a":' * 500 + "1" + "}" * 500),
    *('{"type": "server_vad"}', '"server_vad"', '"item_a"', '"QUJDRA=="', '{"__proto__": 1}'),
]

SCRAPS = ['"', "\\", "{", "}", "[", "]", ",", ":", "\x00", "\ud800", "é", "\U0001f40b", " ", "\n"]


def values_of(text: str) -> list[str]:
    """Every value inside a JSON text, as it stands there."""

    def walk(value: object) -> Iterator[str]:
        yield json.dumps(value)
        if isinstance(value, dict):
            for inner in value.values():
                yield from walk(inner)

    return list(walk(json.loads(text)))[1:]


def replaced(text: str, chance: random.Random) -> str:
    value = chance.choice(values_of(text))
    return text.replace(value, chance.choice(VALUES), 1)


def doubled(text: str, chance: random.Random) -> str:
    fields = list(json.loads(text).items())
    key, value = chance.choice(fields)
    extra = chance.choice([json.dumps(value), *VALUES])
    return text[:-1] + f", {json.dumps(key)}: {extra}}}"


def scrambled(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randrange(len(text) + 1), chance.choice([0, 1, 1, 5, 100])
        text = text[:at] + chance.choice([*SCRAPS, ""]) + text[at + length :]
    return text


def spliced(text: str, chance: random.Random) -> str:
    other = chance.choice(VALID)
    return text[: chance.randrange(len(text))] + other[chance.randrange(len(other)) :]


def long(text: str, chance: random.Random) -> str:
    if chance.random() < 0.95:  # they are slow to make
        return text
    filler = chance.choice(["A", "=", "{}", "1,", '"', "\\", "\\u0041", " ", "é", "[", "-_"])
    many = filler * (chance.randint(60_000, 200_000) // len(filler))
    at = chance.randrange(len(text))
    return text[:at] + many + text[at:]


def noise(_: str, chance: random.Random) -> str:
    return "".join(
        chr(chance.choice([chance.randrange(128), chance.randrange(0x110000)]))
        for _ in range(chance.randrange(200))
    )


MUTATIONS: list[Callable[[str, random.Random], str]] = [
    *(replaced, replaced, replaced, doubled, scrambled, spliced, long, noise),
    lambda text, _: text,
]


def mutated(count: int, seed: int) -> Iterator[str]:
    chance = random.Random(seed)
    for _ in range(count):
        text = chance.choice(VALID)
        yield chance.choice(MUTATIONS)(text, chance)


class Reader:
    """What a transport does with text: the seconds of sound come at the session's rate."""

    def __init__(self) -> None:
        self._downsampler = Downsampler()
        self._settings = Settings()

    def read(self, text: str) -> list[ClientEvent]:
        events: list[ClientEvent] = []
        for event in decode_message(text, self._settings):
            if isinstance(event, AudioReceived):
                event = AudioReceived(self._downsampler.push(event.chunk), event.echo)
            if isinstance(event, SettingsChanged):
                self._settings = event.settings
            if event:
                events.append(event)
        errors = [event for event in events if isinstance(event, ClientErred)]
        assert not errors or events == errors[:1], "what is refused is refused as a whole, once"
        return events


async def test_ten_thousand_messages_neither_end_a_session_nor_confuse_it() -> None:
    reader, encoder = Reader(), Encoder("script", extensions=True)
    model = ScriptedModel([say("One. ", 0.5), ValueError("\ud800"), say("Two.", 0.5)])
    # An error after the other, in no time: this is about what follows when it is not hung up on.
    async with call(model, limits=Limits(errors=100_000, ahead=1e9)) as c:
        for number, text in enumerate(mutated(10_000, seed=9)):
            c.line.push(*reader.read(text))
            while c.line._events.qsize():
                await asyncio.sleep(0)
            if number % 200 == 0:
                await c.clock.advance(1)
        c.line.push(SettingsChanged(Settings(instructions="the last")))
        await c.clock.advance(3)
        assert c.line.closed is None
        assert c.line.told(SettingsApplied)[-1].settings.instructions == "the last"
        assert len(c.line.told(ErrorOccurred)) > 2000
        assert len(c.model.prompts) > 20
        check_told(c.line.sent)
        for event in c.line.sent:
            for answer in encoder.encode(event):
                answer.encode()
                fields = json.loads(answer)
                if fields["type"] == "error":
                    assert len(fields["error"]["message"]) < SENTENCE
                    assert "\n" not in fields["error"]["message"]
                    assert len(fields["error"]["event_id"] or "") <= 512


@settings(deadline=None, max_examples=300)
@given(
    st.integers(0, len(VALID) - 1),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 8), st.text(max_size=8)), max_size=6),
)
def test_whatever_is_done_to_a_message_it_is_an_event_or_an_error(
    which: int, edits: list[tuple[int, int, str]]
) -> None:
    text = VALID[which]
    for at, length, put in edits:
        at %= len(text) + 1
        text = text[:at] + put + text[at + length :]
    for event in Reader().read(text):
        if isinstance(event, ClientErred):
            assert len(str(event.error)) < SENTENCE
            told = list(Encoder("script").encode(ErrorOccurred(event.error, event.event_id)))
            assert json.loads(told[0])["type"] == "error"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"type": ' + "1" * 5000 + "}", "no JSON"),
        ('{"type": NaN}', "event type nan is not known"),
        ('{"type": "\\ud800"}', "event type '\\ud800' is not known"),
        ('{"type": "response.cancel", "type": "make.coffee"}', "'make.coffee' is not known"),
        (update(threshold=10**300), "threshold goes from 0 to 1, not 1e+300"),
        (update("x" * 5000), "turn_detection"),
        (update(eagerness="x" * 5000, kind="semantic_vad"), "eagerness"),
        (message("x" * 50_000), "'xxx"),
        (
            message("session.update", session={"type": "realtime", "instructions": "a\ud800b"}),
            "half a character",
        ),
    ],
)
def test_of_what_a_stranger_sends_an_error_repeats_little(text: str, sentence: str) -> None:
    (event,) = Reader().read(text)
    assert isinstance(event, ClientErred)
    assert isinstance(event.error, InvalidEvent)
    assert sentence in str(event.error)
    assert len(str(event.error)) < SENTENCE


def line_of(server: Uvicorn) -> str:
    return server.url.replace("http", "ws") + "/v1/realtime"


async def attack(server: Uvicorn, count: int) -> None:
    """Send that many messages, on a new line whenever one was hung up on."""
    texts = mutated(count, seed=99)
    for text in texts:
        async with connect(line_of(server), max_size=None) as socket:
            try:
                await socket.recv()
                while True:
                    await socket.send(text.encode(errors="replace").decode())
                    await socket.send(message("make.coffee", event_id="done"))
                    while (
                        json.loads(await socket.recv()).get("error", {}).get("event_id") != "done"
                    ):
                        pass
                    text = next(texts)
            except ConnectionClosed:
                pass
            except StopIteration:
                return
        assert socket.close_code == 1008


async def test_somebody_else_s_reply_stays_whole_while_a_line_is_fuzzed(serve: Serve) -> None:
    server = serve(ScriptedModel([say("La. ", 0.5)] * 20))
    async with asyncio.timeout(120), connect(line_of(server), max_size=None) as good:
        await good.recv()
        fuzz = asyncio.create_task(attack(server, 300))
        turns = 0
        while not fuzz.done() or not turns:
            await good.send(append(silence(1.2, REPLY_RATE)))
            await good.send(append(tone(1, REPLY_RATE)))
            await good.send(append(silence(1.2, REPLY_RATE)))
            sound = b""
            while (fields := json.loads(await good.recv()))["type"] != "response.done":
                assert fields["type"] != "error"
                if fields["type"] == "response.output_audio.delta":
                    sound += base64.b64decode(fields["delta"])
            assert fields["response"]["status"] == "completed"
            assert from_pcm16(sound, REPLY_RATE).duration == pytest.approx(10, abs=0.01)
            turns += 1
            await good.send(message("response.cancel"))
        await fuzz
    await sessions_become(server, 0)
