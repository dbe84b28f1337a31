"""What is tried, one thing at a time, each in a session of its own."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from duologue.audio import REPLY_RATE, AudioChunk
from duologue.check.line import Event, Line, Missing, connected

_SOUND = "response.output_audio.delta"
_WORDS = "conversation.item.input_audio_transcription.completed"
_NO_WORDS = "conversation.item.input_audio_transcription.failed"
_BYTES = 512 * 1024  # of a message: some clients hang up above it

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a town now. Call it whenever the user asks about the weather.",
    "parameters": {
        "type": "object",
        "properties": {"town": {"type": "string"}},
        "required": ["town"],
    },
}


class Refused(Exception):
    """The server says, in an error about the very event, that its model cannot do this."""


class Wrong(Exception):
    """The server does something else than the API says; says what."""


@dataclass(slots=True)
class Trial:
    """What a check has to do with.

    Attributes:
        url: of the server's WebSocket.
        key: that it wants.
        question: speech, at any rate.
        patience: seconds to wait for each event.
        figures: in milliseconds, by their names.
        lines: that were opened, for their violations.
    """

    url: str
    key: str
    question: AudioChunk
    patience: float = 30.0
    figures: dict[str, list[float]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def line(self, *, microphone: bool = False, **query: str) -> AbstractAsyncContextManager[Line]:
        """A session."""
        return connected(self.url, self.key, microphone=microphone, patience=self.patience, **query)

    def note(self, name: str, seconds: float) -> None:
        """Keep a figure."""
        self.figures.setdefault(name, []).append(seconds * 1000)


Check = Callable[[Trial], Awaitable[None]]


def _need(true: object, what: str) -> None:
    if not true:
        raise Wrong(what)


def _detection(**more: Any) -> dict[str, Any]:
    detection = {"type": "server_vad", "silence_duration_ms": 500, **more}
    return {"input": {"turn_detection": detection, "transcription": _WRITTEN}}


_WRITTEN = {
    "model": "gpt-4o-mini-transcribe"
}  # OpenAI's server tells no words unless it is told how
_BY_HAND = {"input": {"turn_detection": None, "transcription": _WRITTEN}}


def _text(words: str, name: str = "", role: str = "user") -> Event:
    item: Event = {
        "type": "message",
        "role": role,
        "content": [{"type": "input_text", "text": words}],
    }
    return {**item, "id": name} if name else item


async def _ask_in_words(line: Line, trial: Trial, words: str, **response: Any) -> Event:
    """Write something and have it answered; the response, done.

    Raises:
        Refused: the model does not read.
    """
    await line.send("conversation.item.create", item=_text(words))
    await line.until("conversation.item.added", "conversation.item.created")
    return await _respond(line, trial, **response)


async def _respond(line: Line, trial: Trial, **response: Any) -> Event:
    asked = time.perf_counter()
    name = await line.send("response.create", response=response)
    event = await line.until("response.created", "error")
    if event["type"] == "error":
        error = event.get("error", {})
        _need(error.get("event_id") == name, "an error about response.create has no event_id")
        raise Refused(str(error.get("message")))
    done = await line.until("response.done")
    trial.note("response.create -> response.done", done["at"] - asked)
    return _whole(done)


def _whole(done: Event, status: str = "completed") -> Event:
    response: Event = done["response"]
    _need(
        response.get("status") == status,
        f"the response is {response.get('status')}, not {status}: {response.get('status_details')}",
    )
    return response


async def session(trial: Trial) -> None:
    """session.created and session.updated tell what holds; a partial update changes the rest of nothing."""
    async with trial.line() as line:
        trial.lines.append(line)
        created = line.seen[0].get("session", {})
        _need(created.get("id"), "the session has no id")
        both = await line.update(instructions="Be kind.", audio=_detection(threshold=0.6))
        _need(both.get("instructions") == "Be kind.", "instructions are not told back")
        updated = await line.update(tracing="auto")
        detection = updated.get("audio", {}).get("input", {}).get("turn_detection") or {}
        kept = (updated.get("instructions"), detection.get("type"))
        _need(kept == ("Be kind.", "server_vad"), "a partial update changes other fields")


async def spoken_turns(trial: Trial) -> None:
    """Two turns, each found by the server and answered aloud, with words for what was said."""
    async with trial.line(microphone=True) as line:
        trial.lines.append(line)
        await line.update(audio=_detection())
        for _ in range(2):
            start = len(line.seen)
            last = await line.say(trial.question)
            await line.until("input_audio_buffer.speech_started")
            await line.until("input_audio_buffer.speech_stopped")
            item = await line.until("input_audio_buffer.committed")
            await line.until("response.created")
            first = await line.until(_SOUND)
            trial.note("last word -> first sound", first["at"] - last)
            _whole(await line.until("response.done"))
            await _words_of(line, item["item_id"], start)
            await asyncio.sleep(_length(line, start))
        _need(not line.errors(), f"errors come: {line.errors()}")


async def _words_of(line: Line, item_id: str, start: int) -> Event:
    """The words of an item, or that there are none; they may have come already."""
    for event in (*line.since(_WORDS, start), *line.since(_NO_WORDS, start)):
        if event.get("item_id") == item_id:
            return event
    return await line.until(_WORDS, _NO_WORDS, where=lambda event: event.get("item_id") == item_id)


def _length(line: Line, start: int = 0) -> float:
    """Seconds of sound that came."""
    data = sum(len(base64.b64decode(event["delta"])) for event in line.since(_SOUND, start))
    return data / 2 / REPLY_RATE


async def barge_in(trial: Trial) -> None:
    """Who speaks into a reply stops it, is heard, and is answered."""
    async with trial.line(microphone=True) as line:
        trial.lines.append(line)
        await line.update(audio=_detection(interrupt_response=True, create_response=True))
        await line.say(trial.question)
        first = await line.until(_SOUND)
        await asyncio.sleep(min(1.2, 0.5 * _length(line)))
        spoken = time.perf_counter()
        saying = asyncio.create_task(line.say(trial.question))
        started = await line.until("input_audio_buffer.speech_started")
        trial.note("speech -> speech_started", started["at"] - spoken)
        await line.send(
            "conversation.item.truncate",
            item_id=first["item_id"],
            content_index=0,
            audio_end_ms=600,
        )
        await line.until("conversation.item.truncated")
        await saying
        await line.until("input_audio_buffer.committed")
        _whole(await line.until("response.done", where=_is_completed))
        _need(not line.errors(), f"errors come: {line.errors()}")


def _is_completed(event: Event) -> bool:
    return bool(event.get("response", {}).get("status") == "completed")


async def push_to_talk(trial: Trial) -> None:
    """Without turn detection: append, commit, response.create; twice, and a commit of nothing."""
    async with trial.line() as line:
        trial.lines.append(line)
        await line.update(audio=_BY_HAND)
        for _ in range(2):
            start = len(line.seen)
            await line.append(trial.question)
            await line.send("input_audio_buffer.commit")
            item = await line.until("input_audio_buffer.committed")
            await _respond(line, trial)
            _need(line.since(_SOUND, start), "no sound comes")
            await _words_of(line, item["item_id"], start)
        _need(not line.errors(), f"errors come: {line.errors()}")
        name = await line.send("input_audio_buffer.commit")
        error = (await line.until("error"))["error"]
        _need(error.get("code") == "input_audio_buffer_commit_empty", f"the code is {error}")
        _need(error.get("event_id") == name, "the error has no event_id")


async def items(trial: Trial) -> None:
    """Items are created under the client's ids and where it wants them, retrieved and deleted."""
    async with trial.line() as line:
        trial.lines.append(line)
        await line.send("conversation.item.create", item=_text("One.", "check_one"))
        added = await line.until("conversation.item.added")
        _need(added["item"].get("id") == "check_one", "the item does not have the client's id")
        await line.send(
            "conversation.item.create",
            item=_text("You are kind.", "check_two", "system"),
            previous_item_id="root",
        )
        added = await line.until("conversation.item.added")
        _need(not added.get("previous_item_id"), "previous_item_id 'root' does not mean: first")
        answer = {"role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}
        await line.send("conversation.item.create", item={"type": "message", **answer})
        await line.until("conversation.item.added")
        await line.send("conversation.item.retrieve", item_id="check_one")
        item = (await line.until("conversation.item.retrieved"))["item"]
        _need(item.get("id") == "check_one", "another item is retrieved")
        await line.send("conversation.item.delete", item_id="check_one")
        await line.until("conversation.item.deleted")


async def errors(trial: Trial) -> None:
    """What is wrong is told with the API's code and the event's own id, and ends nothing."""
    async with trial.line() as line:
        trial.lines.append(line)
        await line.send("conversation.item.create", item=_text("One.", "check_one"))
        await line.until("conversation.item.added")
        for kind, fields, code in (
            ("conversation.item.retrieve", {"item_id": "none"}, "item_retrieve_invalid_item_id"),
            ("conversation.item.delete", {"item_id": "none"}, "item_delete_invalid_item_id"),
            (
                "conversation.item.truncate",
                {"item_id": "none", "content_index": 0, "audio_end_ms": 0},
                "item_truncate_invalid_item_id",
            ),
            (
                "conversation.item.create",
                {"item": _text("One.", "check_one")},
                "item_create_duplicate_item_id",
            ),
            ("response.cancel", {}, "response_cancel_not_active"),
        ):
            name = await line.send(kind, **fields)
            error = (await line.until("error"))["error"]
            _need(error.get("event_id") == name, f"the error about {kind} has no event_id")
            _need(error.get("code") == code, f"{kind}: the code is {error.get('code')}, not {code}")
        await line.update(instructions="Still here?")


async def written_turns(trial: Trial) -> None:
    """What was written is answered, and so are instructions alone, as soon as the last response is done."""
    async with trial.line() as line:
        trial.lines.append(line)
        await line.update(audio=_BY_HAND)
        start = len(line.seen)
        await _ask_in_words(line, trial, "Say hello.")
        _need(line.since(_SOUND, start), "no sound comes")
        await _respond(line, trial, instructions="Say goodbye.")
        _need(not line.errors(), f"errors come: {line.errors()}")


async def out_of_band(trial: Trial) -> None:
    """A response of no conversation, in words, with metadata that comes back in created and done."""
    async with trial.line() as line:
        trial.lines.append(line)
        await line.update(audio=_BY_HAND)
        start = len(line.seen)
        response = await _respond(
            line,
            trial,
            conversation="none",
            metadata={"topic": "check"},
            output_modalities=["text"],
            input=[_text("Say yes.")],
        )
        created = line.since("response.created", start)[0]["response"]
        for told, when in ((created, "created"), (response, "done")):
            topic = (told.get("metadata") or {}).get("topic")
            _need(topic == "check", f"the metadata is not in response.{when}")
        _need(not line.since("conversation.item.added", start), "it is in the conversation")
        _need(not line.since(_SOUND, start), "it is spoken")
        _need(line.since("response.output_text.delta", start), "no words come")


async def words_alone(trial: Trial) -> None:
    """create_response: false: a turn is found, committed and written down, and answered when asked for."""
    async with trial.line(microphone=True) as line:
        trial.lines.append(line)
        await line.update(audio=_detection(create_response=False))
        start = len(line.seen)
        await line.say(trial.question)
        item = await line.until("input_audio_buffer.committed")
        words = await _words_of(line, item["item_id"], start)
        _need(not line.since("response.created", start), "a response comes that nobody asked for")
        await _respond(line, trial)
        if words["type"] == _NO_WORDS:
            raise Refused(str(words.get("error", {}).get("message")))


async def listening_along(trial: Trial) -> None:
    """interrupt_response: false: the reply goes on, and what is said meanwhile is heard and committed."""
    async with trial.line(microphone=True) as line:
        trial.lines.append(line)
        await line.update(audio=_detection(create_response=False, interrupt_response=False))
        await line.say(trial.question)
        await line.until("input_audio_buffer.committed")
        await line.send("response.create")
        await line.until(_SOUND)
        saying = asyncio.create_task(line.say(trial.question))
        await line.until("input_audio_buffer.speech_started")
        await saying
        await line.until("input_audio_buffer.committed")
        done = line.since("response.done") or [await line.until("response.done")]
        _whole(done[-1])


async def text_replies(trial: Trial) -> None:
    """output_modalities: text: a reply in words, without sound."""
    async with trial.line() as line:
        trial.lines.append(line)
        updated = await line.update(audio=_BY_HAND, output_modalities=["text"])
        _need(updated.get("output_modalities") == ["text"], "output_modalities is not told back")
        await line.append(trial.question)
        await line.send("input_audio_buffer.commit")
        response = await _respond(line, trial)
        _need(not line.since(_SOUND), "sound comes")
        if not response.get("output"):
            raise Refused("this model has no words, only sound")
        _need(line.since("response.output_text.delta"), "no words come")


async def telephone(trial: Trial) -> None:
    """G.711 µ-law, each way."""
    async with trial.line() as line:
        form = {"type": "audio/pcmu"}
        sound = {"input": {"format": form, "turn_detection": None}, "output": {"format": form}}
        updated = await line.update(audio=sound)
        told = updated.get("audio", {}).get("output", {}).get("format", {})
        _need(told.get("type") == "audio/pcmu", f"the format is told back as {told}")
        zeros = base64.b64encode(b"\xff" * 8000).decode()
        await line.send("input_audio_buffer.append", audio=zeros)
        await line.send("input_audio_buffer.commit")
        await line.until("input_audio_buffer.committed")
        _need(not line.errors(), f"errors come: {line.errors()}")


async def functions(trial: Trial) -> None:
    """A function is called, and what it gave is answered."""
    async with trial.line() as line:
        trial.lines.append(line)
        updated = await line.update(audio=_BY_HAND, tools=[WEATHER])
        if not updated.get("tools"):
            error = (await line.until("error"))["error"]
            raise Refused(str(error.get("message")))
        response = await _ask_in_words(
            line, trial, "How is the weather in Oslo?", tool_choice="required"
        )
        calls = [part for part in response["output"] if part.get("type") == "function_call"]
        _need(calls, "the function is not called, though it is required")
        _need(line.since("response.function_call_arguments.done"), "its arguments are not told")
        output = {"type": "function_call_output", "call_id": calls[0]["call_id"], "output": "rain"}
        await line.send("conversation.item.create", item=output)
        await line.until("conversation.item.added")
        await _respond(line, trial, tool_choice="none")


async def transcription(trial: Trial) -> None:
    """?intent=transcription: what is said is written down, and never answered."""
    async with trial.line(microphone=True, intent="transcription") as line:
        _need(
            line.seen[0].get("session", {}).get("type") == "transcription",
            "the session is no transcription session",
        )
        session = {"type": "transcription", "audio": _detection()}
        await line.send("session.update", session=session)
        await line.until("session.updated")
        start = len(line.seen)
        await line.say(trial.question)
        item = await line.until("input_audio_buffer.committed")
        words = await _words_of(line, item["item_id"], start)
        _need(not line.since("response.created"), "a response comes")
        if words["type"] == _NO_WORDS:
            raise Refused(str(words.get("error", {}).get("message")))


async def sizes(trial: Trial) -> None:
    """No message is larger than some clients take."""
    async with trial.line() as line:
        await line.update(audio=_BY_HAND)
        await line.append(trial.question)
        await line.send("input_audio_buffer.commit")
        await line.send("response.create")
        await line.until("response.done")
        largest = max((len(event["delta"]) for event in line.since(_SOUND)), default=0)
        _need(largest < _BYTES, f"a delta has {largest // 1024} KiB; Open WebUI takes 512")


CHECKS: dict[str, Check] = {
    "session": session,
    "spoken turns": spoken_turns,
    "barge-in": barge_in,
    "push to talk": push_to_talk,
    "items": items,
    "errors": errors,
    "written turns": written_turns,
    "out of band": out_of_band,
    "own responses": words_alone,
    "listening along": listening_along,
    "text replies": text_replies,
    "telephone": telephone,
    "functions": functions,
    "transcription": transcription,
    "sizes": sizes,
}
"""What is tried, in this order."""

__all__ = ["CHECKS", "Check", "Missing", "Refused", "Trial", "Wrong"]
