"""What Open WebUI's voice call sends, in its order: whatever code an error has, but one, ends the call."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from conftest import Serve
from duologue.audio import AudioChunk, silence
from duologue.conversation.items import ReplyChunk
from duologue.testing import ScriptedModel, say, tone
from transports.realtime.messages import append, message
from transports.realtime.test_endpoint import line


class Caller:
    """Its side of the line.

    Attributes:
        seen: what it was told, in order.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self._socket.send(message(kind, **fields))

    async def speak(self, *sounds: AudioChunk) -> None:
        for sound in sounds:
            await self._socket.send(append(sound))

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            fields: dict[str, Any] = json.loads(await self._socket.recv())
            self.seen.append(fields)
            assert fields["type"] != "error", fields
            if fields["type"] == kind:
                return fields

    async def context(self, name: str, before: str = "") -> None:
        """The chat so far, as an item of the system's."""
        if before:
            await self.send("conversation.item.delete", item_id=before)
            await self.until("conversation.item.deleted")
        content = [{"type": "input_text", "text": "The chat so far."}]
        item = {"id": name, "type": "message", "role": "system", "content": content}
        await self.send("conversation.item.create", item=item)
        assert (await self.until("conversation.item.done"))["item"]["id"] == name


QUESTION = (tone(1, 24_000), silence(0.8, 24_000))


@pytest.fixture
async def caller(serve: Serve) -> AsyncIterator[Caller]:
    script = [ReplyChunk(user_text="and now"), say("Here it is. ", 5.0)]
    model = ScriptedModel(script, reads=True, transcript="what is it")
    async with line(serve(model)) as socket:
        caller = Caller(socket)
        detection = {"type": "server_vad", "create_response": False, "interrupt_response": False}
        session = {
            "type": "realtime",
            "instructions": "Be brief.",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "transcription": {"model": "whisper-1"},
                    "turn_detection": detection,
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "alloy"},
            },
            "tools": [],
            "tool_choice": "auto",
        }
        await caller.send("session.update", session=session)
        await caller.until("session.updated")
        await caller.context("chat_context_1")
        yield caller


async def _ask(caller: Caller, **response: Any) -> dict[str, Any]:
    await caller.send("response.create", response=response)
    await caller.until("response.created")
    done: dict[str, Any] = (await caller.until("response.done"))["response"]
    assert done["status"] == "completed"
    for name, value in response.get("metadata", {}).items():
        assert done["metadata"][name] == value
    return done


async def test_a_call_from_its_first_word_to_its_last(caller: Caller) -> None:
    await caller.speak(*QUESTION)
    said = await caller.until("conversation.item.input_audio_transcription.completed")
    assert said["transcript"] == "what is it"
    answer = await _ask(caller, metadata={"input_item_id": said["item_id"]})

    # The user speaks while it sounds; the call pauses it itself.
    await caller.speak(*QUESTION)
    await caller.until("input_audio_buffer.speech_started")
    said = await caller.until("conversation.item.input_audio_transcription.completed")
    item = answer["output"][0]["id"]
    await caller.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=0)
    await caller.until("conversation.item.truncated")
    await caller.context("chat_context_2", before="chat_context_1")
    await _ask(caller, metadata={"input_item_id": said["item_id"]})

    # "I am working on your request", of which the conversation does not know.
    await _ask(
        caller,
        conversation="none",
        input=[],
        tools=[],
        tool_choice="none",
        instructions="Say that you are working on it.",
        metadata={"status": "working"},
    )
    output = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
    await caller.send("conversation.item.create", item=output)
    await caller.until("conversation.item.done")
    await _ask(caller, tools=[], tool_choice="none", metadata={"call_id": "call_1"})
    await caller.send("input_audio_buffer.clear")  # muted
    await caller.until("input_audio_buffer.cleared")


async def test_it_reads_a_text_aloud(caller: Caller) -> None:
    text = {"type": "input_text", "text": "Good morning."}
    message = {"type": "message", "role": "user", "content": [text]}
    done = await _ask(caller, conversation="none", input=[message], instructions="Read this aloud.")
    assert done["conversation_id"] is None
    assert "response.output_audio.delta" in [fields["type"] for fields in caller.seen]
