"""Clients that send or are sent too much: what waits for them is bounded, and the others get their turn."""

import asyncio
import gc
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from calls import Call, call
from conftest import Serve
from duologue.audio import INPUT_RATE, AudioChunk, silence
from duologue.conversation.events import (
    AudioReceived,
    ClearRequested,
    ClientErred,
    ClientEvent,
    ErrorOccurred,
    ItemCreated,
    ItemRequested,
    ReplyDelta,
    ReplyDone,
    SettingsChanged,
    UserNotTranscribed,
    UserTranscribed,
)
from duologue.conversation.items import Item
from duologue.errors import ClientTooSlow, InvalidEvent, TooManyErrors
from duologue.session.session import Limits, Session
from duologue.settings import Settings
from duologue.testing import ScriptedModel, say, settle, tone
from transports.realtime.messages import append, message
from transports.realtime.test_endpoint import hear, line


async def settle_wholly(c: Call) -> None:
    """Until the session has worked off all that the client sent."""
    while c.line._events.qsize():
        await settle()
    await settle()


async def last_word(socket: ClientConnection) -> dict[str, Any]:
    last: dict[str, Any] = {}
    try:
        while True:
            last = json.loads(await socket.recv())
    except ConnectionClosed:
        return last


@pytest.mark.parametrize(
    ("event", "bound"),
    [(SettingsChanged(Settings(instructions="x" * 64_000)), 64), (ClearRequested(), 1002)],
    ids=["long instructions", "short events"],
)
async def test_what_waits_for_a_client_that_does_not_read_is_bounded(
    event: ClientEvent, bound: int
) -> None:
    async with call(ScriptedModel(), limits=Limits(drain=0.01)) as c:
        c.line.stop_reading()
        c.line.push(*[event] * 3000)
        most = 0
        while c.line._events.qsize():
            await asyncio.sleep(0)
            most = max(most, len(c.session._outbox._events))
            if c.session._listener.done():
                break
        assert 50 < most <= bound
        c.line.read_on()
        await settle()
        assert isinstance(c.session._outbox.overflow, ClientTooSlow)


async def test_what_a_client_has_written_waits_for_it_in_bounds_too() -> None:
    async with call(ScriptedModel(), limits=Limits(drain=0.01)) as c:
        c.line.push(ItemCreated(Item("long", text="x" * 64_000)))
        await settle()
        c.line.stop_reading()
        c.line.push(*[ItemRequested("long")] * 3000)
        while not c.session._listener.done():
            await settle()
        assert len(c.session._outbox._events) <= 66
        assert isinstance(c.session._outbox.overflow, ClientTooSlow)
        c.line.read_on()


async def test_of_what_waits_to_be_written_down_there_is_a_bound_and_one_at_a_time() -> None:
    class Scribe(ScriptedModel):
        now = most = 0

        async def transcribe(
            self, utterance: AudioChunk, language: str = "", listener: str = "", likely: str = ""
        ) -> tuple[str, str]:
            self.now += 1
            self.most = max(self.most, self.now)
            await settle()
            self.now -= 1
            return "hello", "en"

    model = Scribe()
    async with call(model, limits=Limits(scribes=5)) as c:
        sounds = [ItemCreated(Item(f"{n}", sound=tone(0.1))) for n in range(40)]
        c.line.push(*sounds)
        for _ in range(20):
            await settle()
        assert model.most == 1
        written, refused = c.line.told(UserTranscribed), c.line.told(UserNotTranscribed)
        assert len(written) >= 5
        assert len(written) + len(refused) == 40
        assert "5 utterances wait to be written down" in str(refused[0].error)


async def test_a_client_that_was_sent_too_much_is_told_why_it_is_hung_up_on() -> None:
    async with call(ScriptedModel()) as c:
        c.line.stop_reading()
        c.line.push(*[ClearRequested()] * 1500)
        await settle_wholly(c)
        c.line.read_on()
        while not c.line.closed:
            await settle()
        assert isinstance(c.line.closed, ClientTooSlow)
        last = c.line.sent[-1]
        assert isinstance(last, ErrorOccurred)
        assert "more than 1000 events wait to be read" in str(last.error)


async def test_a_client_that_reads_may_be_sent_any_number_of_events() -> None:
    async with call(ScriptedModel()) as c:
        c.line.push(*[ClearRequested()] * 5000)
        await settle_wholly(c)
        assert c.line.closed is None
        assert len(c.line.sent) == 5001


async def test_the_sound_of_a_long_reply_is_counted_in_seconds_not_in_events() -> None:
    async with call(ScriptedModel([say("La. ", 0.05)] * 2000)) as c:
        c.line.stop_reading()
        await c.speak()
        c.line.read_on()
        while not c.line.told(ReplyDone):
            await settle()
        assert len(c.line.told(ReplyDelta)) == 2000
        assert c.line.closed is None


async def test_who_errs_a_hundred_times_in_a_second_is_hung_up_on() -> None:
    async with call(ScriptedModel()) as c:
        c.line.push(*[ClientErred(InvalidEvent("what?"))] * 100_000)
        while not c.line.closed:
            await settle()
        assert isinstance(c.line.closed, TooManyErrors)
        assert len(c.line.told(ErrorOccurred)) == 101


async def test_who_errs_now_and_then_is_served_on() -> None:
    async with call(ScriptedModel()) as c:
        for _ in range(20):
            c.line.push(*[ClientErred(InvalidEvent("what?"))] * 10)
            await c.clock.advance(1)
        assert c.line.closed is None
        assert len(c.line.told(ErrorOccurred)) == 200


async def test_others_get_their_turn_between_two_messages_of_a_flood() -> None:
    async with call(ScriptedModel()) as c:
        c.line.push(*[AudioReceived(silence(0.001, INPUT_RATE))] * 2000)
        turns_of_the_loop = 0
        while c.line._events.qsize():
            await asyncio.sleep(0)
            turns_of_the_loop += 1
        assert turns_of_the_loop > 1500


async def test_sound_that_comes_faster_than_anybody_speaks_waits_after_five_minutes() -> None:
    async with call(ScriptedModel()) as c:
        c.line.push(AudioReceived(silence(360, INPUT_RATE)))
        for _ in range(20):
            await settle()
        assert c.session._detector.position == pytest.approx(300, abs=0.2)
        await c.clock.advance(3)
        assert c.session._detector.position == pytest.approx(330, abs=3)
        await c.clock.advance(3.2)
        assert c.session._detector.position == pytest.approx(360, abs=0.1)


async def test_junk_on_one_line_ends_it_and_no_other(serve: Serve) -> None:
    server = serve()
    async with line(server) as good, line(server) as evil:
        await good.send(append(tone(1, 24_000)))
        for _ in range(3000):
            await evil.send("{}")
        await good.send(append(silence(1.2, 24_000)))
        assert (await hear(good, "response.done"))["response"]["status"] == "completed"
        assert (await last_word(evil))["error"]["code"] == "too_many_errors"
        assert evil.close_code == 1008


async def test_others_are_answered_while_a_message_of_15_mib_is_heard(serve: Serve) -> None:
    server = serve()
    order: list[str] = []

    async def answer(socket: ClientConnection, name: str) -> None:
        await hear(socket, "error")
        order.append(name)

    async with line(server) as good, line(server) as evil:
        await evil.send(append(silence(230, 24_000)))
        await evil.send(message("make.coffee"))
        heard = asyncio.create_task(answer(evil, "the long message"))
        for _ in range(3):
            await good.send(message("make.coffee"))
            await answer(good, "a short one")
        await heard
    assert order == ["a short one"] * 3 + ["the long message"]


async def test_five_hundred_sessions_that_come_and_go_leave_nothing_behind(serve: Serve) -> None:
    server = serve(sessions=30, visitor_sessions=30)

    async def come_and_go(number: int) -> None:
        async with line(server) as socket:
            await socket.send(append(tone(0.2, 24_000)))
            if number % 2:
                socket.transport.abort()  # without a word

    for start in range(0, 500, 20):
        await asyncio.gather(*(come_and_go(start + number) for number in range(20)))
        async with asyncio.timeout(60):
            while server._server._sessions:
                await asyncio.sleep(0.02)
    async with asyncio.timeout(60):
        while any(type(thing) is Session for thing in gc.get_objects()):
            gc.collect()
            await asyncio.sleep(0.02)
    async with line(server) as socket:
        await socket.send(append(tone(1, 24_000)))
        await socket.send(append(silence(1.2, 24_000)))
        assert (await hear(socket, "response.done"))["response"]["status"] == "completed"


async def test_what_an_error_says_of_a_message_is_short(serve: Serve) -> None:
    async with line(serve()) as socket:
        for text in (
            message("x" * 60_000, event_id="y" * 5000),
            message("\ud800", event_id="\udfff"),
            message("session.update", session={"type": "realtime", "instructions": "\ud800"}),
        ):
            await socket.send(text)
            answer = await socket.recv()
            assert len(answer) < 1500
            assert json.loads(answer)["type"] == "error"
