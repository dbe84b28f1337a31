"""Many replies from one network, on a fake network."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.audio import INPUT_RATE, silence
from duologue.conversation.events import AudioReceived, ReplyDelta
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.errors import ModelFailed, ModelUnavailable
from duologue.models import engine as engine_module
from duologue.models.engine import Engine
from duologue.session.session import Session
from duologue.settings import Settings
from duologue.testing import LoudnessVad, MemoryRecord, MemoryTransport, settle, tone


class CountingNetwork:
    """Counts aloud to the number in the prompt's instructions; knows who is in which slot.

    Raises where it is misused, so that a test of the engine fails by the replies it gets.
    """

    capabilities = Capabilities(history=False, instructions=True, transcribes=False, note="Counts.")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.left: dict[int, list[int]] = {}
        self.largest_batch = self.steps = 0
        self.threads: set[int] = set()
        self.closed = False
        self.wrong: Any = None  # what the next step gives, whatever it should give
        self.may_admit = threading.Event()
        self.may_admit.set()
        self.may_step = threading.Event()
        self.may_step.set()

    def start(self) -> None:
        self.threads.add(threading.get_ident())
        if self.slots > 4:
            raise ModelUnavailable("too many slots")

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed = True

    def admit(self, slot: int, prompt: Prompt) -> None:
        self.threads.add(threading.get_ident())
        self.may_admit.wait()
        assert slot not in self.left
        assert 0 <= slot < self.slots
        self.left[slot] = []
        if prompt.instructions == "refuse":
            raise ValueError("refused")
        self.left[slot] = (
            [-1] if prompt.instructions == "break" else [*range(int(prompt.instructions))]
        )

    def overhear(self, slot: int, prompt: Prompt) -> None:
        assert slot not in self.left
        assert self.slots <= slot < 2 * self.slots
        self.left[slot] = []
        self.left[slot] = [*range(int(prompt.instructions))]

    def step(self, slots: Sequence[int]) -> Sequence[ReplyChunk | None]:
        self.may_step.wait()
        if self.wrong is not None:
            wrong: Sequence[ReplyChunk | None] = self.wrong
            self.wrong = None
            return wrong
        self.steps += 1
        self.largest_batch = max(self.largest_batch, len(slots))
        assert set(slots) == set(self.left)
        if any(self.left[slot] == [-1] for slot in slots):
            raise RuntimeError("broken")
        return [
            ReplyChunk(text=str(self.left[slot].pop(0))) if self.left[slot] else None
            for slot in slots
        ]

    def evict(self, slot: int) -> None:
        del self.left[slot]


def prompt(instructions: str) -> Prompt:
    return Prompt(silence(1, INPUT_RATE), instructions=instructions)


async def hear(engine: Engine, instructions: str) -> str:
    async with aclosing(engine.reply(prompt(instructions))) as chunks:
        return "".join([chunk.text async for chunk in chunks])


@asynccontextmanager
async def running(slots: int) -> AsyncIterator[tuple[Engine, CountingNetwork]]:
    network = CountingNetwork(slots)
    engine = Engine(network)
    await engine.start()
    try:
        yield engine, network
    finally:
        network.may_step.set()
        network.may_admit.set()
        await engine.close()
    assert network.closed
    assert len(network.threads) == 1


async def test_a_network_that_cannot_be_loaded_says_so_at_the_start() -> None:
    network = CountingNetwork(5)
    engine = Engine(network)
    with pytest.raises(ModelUnavailable, match="too many slots"):
        await engine.start()
    await engine.close()
    assert network.closed


async def test_a_reply_comes_in_order_and_ends() -> None:
    async with running(1) as (engine, _):
        assert await hear(engine, "5") == "01234"


async def test_replies_share_the_steps() -> None:
    async with running(4) as (engine, network):
        network.may_step.clear()
        replies = [asyncio.create_task(hear(engine, "9")) for _ in range(4)]
        await settle()
        network.may_step.set()
        assert await asyncio.gather(*replies) == ["012345678"] * 4
        assert network.largest_batch == 4


async def test_who_finds_no_slot_waits_for_one() -> None:
    async with running(2) as (engine, network):
        replies = await asyncio.gather(*(hear(engine, str(n)) for n in range(8)))
        assert replies == ["".join(map(str, range(n))) for n in range(8)]
        assert network.largest_batch <= 2
        assert engine.free_slots == 2


async def test_an_abandoned_reply_frees_its_slot_within_a_step() -> None:
    async with running(1) as (engine, network):
        async with aclosing(engine.reply(prompt("1000000"))) as chunks:
            await anext(chunks)
            network.may_step.clear()
        steps = network.steps
        network.may_step.set()
        assert await hear(engine, "2") == "01"
        assert network.left == {}
        # One was under way, one may have been about to begin; two words and the end.
        assert network.steps <= steps + 2 + 3


async def test_a_reply_that_a_session_takes_back_unheard_frees_its_slot_within_a_step() -> None:
    async with running(1) as (engine, network):
        line = MemoryTransport()
        settings = Settings(instructions="1000")
        session = Session(line, LoudnessVad(), engine, MemoryRecord(), settings)
        served = asyncio.create_task(session.run())
        network.may_step.clear()
        line.push(*(AudioReceived(sound) for sound in (tone(1), silence(0.5, INPUT_RATE))))
        await until(lambda: bool(network.left))
        line.push(AudioReceived(tone(0.5)))
        await until(lambda: session._detector.position > 1.8)
        steps = network.steps
        network.may_step.set()
        await until(lambda: not network.left)
        assert network.steps <= steps + 1
        line.hang_up()
        await served
        assert line.told(ReplyDelta) == []


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_reply_that_is_abandoned_while_it_waits_is_never_begun() -> None:
    async with running(1) as (engine, network):
        network.may_step.clear()
        first = asyncio.create_task(hear(engine, "1"))
        second = asyncio.create_task(hear(engine, "refuse"))
        await settle()
        second.cancel()
        await asyncio.wait([second])
        network.may_step.set()
        assert await first == "0"


async def test_work_ahead_takes_no_slot_of_a_reply() -> None:
    async with running(1) as (engine, network):
        ahead = [asyncio.create_task(engine.overhear(prompt("1000000"))) for _ in range(3)]
        await until(lambda: 1 in network.left)
        assert engine.free_slots == 1
        assert await hear(engine, "3") == "012"
        assert network.left.keys() == {1}
        for task in ahead:
            task.cancel()
        await until(lambda: not network.left)


async def test_work_ahead_that_is_let_go_ends_within_a_step() -> None:
    async with running(1) as (engine, network):
        ahead = asyncio.create_task(engine.overhear(prompt("1000000")))
        await until(lambda: network.steps > 3)
        network.may_step.clear()
        ahead.cancel()
        await asyncio.wait([ahead])
        steps = network.steps
        network.may_step.set()
        await until(lambda: not network.left)
        assert network.steps <= steps + 1


async def test_work_ahead_comes_to_an_end_and_fails_as_a_reply_does() -> None:
    async with running(1) as (engine, network):
        assert await engine.overhear(prompt("5")) == ""
        assert network.steps == 6
        with pytest.raises(ModelFailed, match="many"):
            await engine.overhear(prompt("many"))
        ahead = asyncio.create_task(engine.overhear(prompt("1000000")))
        await until(lambda: bool(network.left))
        await engine.close()
        with pytest.raises(ModelFailed, match="closed"):
            await ahead
        with pytest.raises(ModelFailed, match="closed"):
            await engine.overhear(prompt("1"))


async def test_a_failure_to_begin_ends_that_reply_only() -> None:
    async with running(2) as (engine, _):
        results = await asyncio.gather(
            hear(engine, "3"), hear(engine, "refuse"), return_exceptions=True
        )
        assert results[0] == "012"
        assert isinstance(results[1], ModelFailed)
        assert "refused" in str(results[1])


async def test_a_failure_in_a_step_ends_the_replies_in_it_and_never_the_thread() -> None:
    async with running(2) as (engine, network):
        with pytest.raises(ModelFailed, match="broken"):
            await hear(engine, "break")
        assert await hear(engine, "3") == "012"
        assert network.left == {}


@pytest.mark.parametrize("wrong", [[], [ReplyChunk()] * 3, 7, [None, None, None]])
async def test_a_wrong_number_of_chunks_ends_the_replies_and_never_the_thread(wrong: Any) -> None:
    async with running(2) as (engine, network):
        network.may_admit.clear()
        network.wrong = wrong
        replies = [asyncio.create_task(hear(engine, "9")) for _ in range(2)]
        await asyncio.sleep(0)  # both are asked for; the first step has both
        network.may_admit.set()
        failures = await asyncio.gather(*replies, return_exceptions=True)
        assert all(isinstance(failure, ModelFailed) for failure in failures)
        assert await hear(engine, "3") == "012"
        assert network.left == {}


async def test_a_long_prefill_keeps_nobody_from_asking_or_leaving() -> None:
    async with running(2) as (engine, network):
        network.may_admit.clear()
        first = asyncio.create_task(hear(engine, "1"))
        await until(lambda: bool(engine.free_slots == 1))
        release = threading.Timer(10, network.may_admit.set)  # or a lock would hang this test
        release.start()
        second, third = (asyncio.create_task(hear(engine, "2")) for _ in range(2))
        await asyncio.sleep(0)
        third.cancel()
        await asyncio.wait([third])
        assert not network.may_admit.is_set(), "the event loop waited for the prefill"
        release.cancel()
        network.may_admit.set()
        assert (await first, await second) == ("0", "01")


async def test_a_network_that_hangs_is_left_behind_at_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_module, "_PATIENCE", 0.2)
    async with running(1) as (engine, network):
        network.may_step.clear()
        replies = [asyncio.create_task(hear(engine, "1")) for _ in range(2)]
        await until(lambda: bool(network.left))
        await asyncio.wait_for(engine.close(), 60)
        for reply in replies:
            with pytest.raises(ModelFailed, match="the model was closed, and hangs"):
                await reply
        assert "it hangs in its network" in caplog.text
        monkeypatch.setattr(engine_module, "_PATIENCE", 300.0)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=8),
)
def test_whatever_a_step_gives_every_reply_ends_and_the_next_is_served(
    slots: int, steps: list[tuple[int, int]]
) -> None:
    class Wrong(CountingNetwork):
        def step(self, slots: Sequence[int]) -> Sequence[ReplyChunk | None]:
            right = super().step(slots)
            wrong = dict(steps).get(self.steps)
            return right if wrong is None else [ReplyChunk()] * wrong

    async def run() -> None:
        network = Wrong(slots)
        engine = Engine(network)
        await engine.start()
        replies = [hear(engine, str(length)) for length, _ in steps]
        ends = await asyncio.gather(*replies, return_exceptions=True)
        assert all(isinstance(end, str | ModelFailed) for end in ends)
        steps.clear()
        assert await hear(engine, "3") == "012"
        assert network.left == {}
        await engine.close()

    asyncio.run(asyncio.wait_for(run(), 30))


async def test_closing_ends_what_is_under_way_with_an_error() -> None:
    network = CountingNetwork(1)
    engine = Engine(network)
    await engine.start()
    under_way = asyncio.create_task(hear(engine, "1000000"))
    waiting = asyncio.create_task(hear(engine, "1"))
    await settle()
    await engine.close()
    for task in (under_way, waiting):
        with pytest.raises(ModelFailed, match="closed"):
            await task
    with pytest.raises(ModelFailed):
        await hear(engine, "1")


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 14)), min_size=1, max_size=12),
)
def test_joining_and_leaving_at_random_changes_nobody_elses_reply(
    slots: int, replies: list[tuple[int, int]]
) -> None:
    async def one(engine: Engine, length: int, patience: int) -> str:
        heard = ""
        async with aclosing(engine.reply(prompt(str(length)))) as chunks:
            async for chunk in chunks:
                heard += chunk.text
                patience -= 1
                if patience < 0:
                    break
        return heard

    async def run() -> None:
        async with running(slots) as (engine, network):
            heard = await asyncio.gather(*(one(engine, *reply) for reply in replies))
            for text, (length, patience) in zip(heard, replies, strict=True):
                assert text == "".join(map(str, range(min(length, patience + 1))))
            while engine.free_slots < slots:
                await asyncio.sleep(0.001)
        assert network.left == {}

    asyncio.run(run())
