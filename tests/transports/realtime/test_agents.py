"""The Agents SDK for Python, as it is, talks with the default model."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("ctranslate2")
pytest.importorskip("agents")

from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession

from conftest import serving
from duologue.audio import REPLY_RATE, AudioChunk, silence
from duologue.ears.vad import Silero
from duologue.server.app import Uvicorn
from duologue.server.config import load_config
from models.cascade.rig import needs_weights

pytestmark = needs_weights

_STEP = 0.04  # seconds


@pytest.fixture(scope="module")
def server() -> Iterator[Uvicorn]:
    config = load_config({"model": "cascade", "port": 0, "page": False}, environ={})
    with serving(config, vad=Silero().stream) as server:
        yield server


class Talker:
    """A microphone that never stops, and what the session tells.

    Attributes:
        events: by their type.
    """

    def __init__(self, session: RealtimeSession) -> None:
        self.events: list[Any] = []
        self._session = session
        self._sounds: asyncio.Queue[AudioChunk] = asyncio.Queue()

    def say(self, sound: AudioChunk) -> None:
        self._sounds.put_nowait(sound.at(REPLY_RATE))

    async def speak_on(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            sound = silence(_STEP, REPLY_RATE)
            if not self._sounds.empty():
                sound = self._sounds.get_nowait()
            for start in range(0, len(sound.samples), round(_STEP * REPLY_RATE)):
                end = start + round(_STEP * REPLY_RATE)
                await self._session.send_audio(
                    AudioChunk(sound.samples[start:end], REPLY_RATE).pcm16()
                )
                due += _STEP
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def listen(self) -> None:
        async for event in self._session:
            self.events.append(event)

    def came(self, kind: str) -> int:
        return sum(event.type == kind for event in self.events)

    def words(self, role: str) -> list[str]:
        """What one of the two has said, by the newest history."""
        history: list[Any] = []
        for event in self.events:
            if event.type == "history_updated":
                history = event.history
            elif event.type == "history_added":
                history = [*history, event.item]
        items = {item.item_id: item for item in history if getattr(item, "role", "") == role}
        texts = (
            " ".join(
                getattr(part, "transcript", None) or getattr(part, "text", None) or ""
                for part in item.content
            )
            for item in items.values()
        )
        return [text for text in texts if text.strip()]

    async def until(self, what: str, true: Any) -> None:
        try:
            async with asyncio.timeout(120):
                while not true():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"it never came to that: {what}")


async def test_two_turns_with_a_barge_in_and_one_that_is_written_have_no_error(
    server: Uvicorn, questions: list[AudioChunk]
) -> None:
    runner = RealtimeRunner(RealtimeAgent(name="Duo", instructions="Be kind."))
    url = server.url.replace("http", "ws") + "/v1/realtime?model=any"
    session = await runner.run(model_config={"url": url, "api_key": "any"})
    async with session:
        talker = Talker(session)
        tasks = [asyncio.create_task(talker.listen()), asyncio.create_task(talker.speak_on())]
        talker.say(questions[0])
        await talker.until("the first reply sounds", lambda: talker.came("audio"))
        await asyncio.sleep(1.2)
        talker.say(questions[1])
        await talker.until("it is interrupted", lambda: talker.came("audio_interrupted"))
        await talker.until("both questions have words", lambda: len(talker.words("user")) >= 2)
        await talker.until("both replies have words", lambda: len(talker.words("assistant")) >= 2)
        await session.interrupt()
        await asyncio.sleep(0.5)
        before = talker.came("audio_end")
        await session.send_message("Say good morning.")
        await talker.until("that is answered", lambda: talker.came("audio_end") > before)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    errors = [event.error for event in talker.events if event.type == "error"]
    assert errors == []
    assert "Say good morning." in talker.words("user")
