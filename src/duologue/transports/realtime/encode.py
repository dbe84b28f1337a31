"""Events to messages of the OpenAI Realtime API (GA). Pure.

Everything is built with the `openai` package's own types.

What the API has no event for is called `duologue.…`, and goes to a client that asks for extensions: that
a reply is to be played quieter, that the limit in time will end what the user says, and that the session
still answers.
"""

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from openai.types import realtime as wire
from openai.types.realtime.realtime_server_event import ConversationItemRetrieved
from pydantic import BaseModel

from duologue import events
from duologue.audio import REPLY_RATE, AudioChunk, LineFormat
from duologue.items import Item
from duologue.model import Function, Tools
from duologue.settings import Settings
from duologue.transports.realtime.formats import Writer

_Model = TypeVar("_Model", bound=BaseModel)

_DELTA = REPLY_RATE  # samples of one delta: 64 KiB of base64, where some clients take 512
_PAIRS = 16  # of metadata
_CONVERSATION = "conv_default"
_FORMATS: dict[LineFormat, dict[str, Any]] = {
    "pcm24": {"type": "audio/pcm", "rate": 24_000},
    "pcm16": {"type": "audio/pcm", "rate": 16_000},
    "pcmu": {"type": "audio/pcmu"},
    "pcma": {"type": "audio/pcma"},
}
_NO_USAGE = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}

_EAGERNESS = {"patient": "low", "normal": "medium", "quick": "high"}


class Encoder:
    """Server events as messages, in the order that the API documents.

    Args:
        model: its name.
        extensions: the client knows the events that the API does not have.
    """

    def __init__(self, model: str, *, extensions: bool = False) -> None:
        self._model = model
        self._extensions = extensions
        self._session = "", 0  # its id, and when it ends, by Unix time
        self._writer = Writer("pcm24")
        self._outputs: dict[str, list[str]] = {}  # ids of the items of each response under way

    def encode(self, event: events.ServerEvent) -> Iterator[str]:
        """The messages for one event, none to many."""
        if isinstance(event, _Extension):
            if self._extensions:
                yield _extension(event)
            return
        if isinstance(event, events.SessionStarted | events.SettingsApplied):
            yield self._session_message(event)
            return
        for message in self._messages(event):
            yield message.to_json(indent=None)  # type: ignore[attr-defined]

    def _messages(self, event: events.ServerEvent) -> Iterator[BaseModel]:
        match event:
            case events.ReplyDelta():
                yield from self._reply_delta(event)
            case events.ReplyItemAdded():
                yield from self._reply_item(event)
            case events.FunctionCalled():
                yield from self._call(event)
            case events.ReplyDone():
                yield from self._reply_done(event)
            case events.TurnCommitted():
                yield from _turn_committed(event)
            case events.ItemAdded():
                yield from _item_added(event)
            case events.ItemsWithdrawn(item_ids):
                for item_id in item_ids:
                    yield _event(wire.ConversationItemDeletedEvent, item_id=item_id)
            case _:
                yield _SIMPLE[type(event)](event)

    def _session_message(self, event: events.SessionStarted | events.SettingsApplied) -> str:
        """The session as it is. The package's types have no id, and no sound at 16 kHz."""
        kind, settings = "session.updated", event.settings
        if isinstance(event, events.SessionStarted):
            kind = "session.created"
            self._session = event.session_id, event.expires_at
        if settings.sound_out != self._writer.format:
            self._writer = Writer(settings.sound_out)
        name, ends = self._session
        session = session_fields(self._model, settings, name, ends)
        return json.dumps({"type": kind, "event_id": _event_id(), "session": session})

    def _reply_delta(self, event: events.ReplyDelta) -> Iterator[BaseModel]:
        content = self._content(event.response_id, event.item_id)
        if event.text:
            words = wire.ResponseAudioTranscriptDeltaEvent
            kind = words if event.aloud else wire.ResponseTextDeltaEvent
            yield _event(kind, **content, delta=_whole(event.text))
        if event.audio:
            samples = event.audio.at(REPLY_RATE).samples
            for start in range(0, len(samples), _DELTA):
                piece = AudioChunk(samples[start : start + _DELTA], REPLY_RATE)
                if data := self._writer.push(piece):
                    sound = base64.b64encode(data).decode()
                    yield _event(wire.ResponseAudioDeltaEvent, **content, delta=sound)

    def _output(self, response_id: str, item_id: str) -> dict[str, Any]:
        """Which part of a response an item is."""
        items = self._outputs.setdefault(response_id, [])
        if item_id not in items:
            items.append(item_id)
        return {"response_id": response_id, "output_index": items.index(item_id)}

    def _content(self, response_id: str, item_id: str) -> dict[str, Any]:
        return {**self._output(response_id, item_id), "item_id": item_id, "content_index": 0}

    def _reply_item(self, event: events.ReplyItemAdded) -> Iterator[BaseModel]:
        item = _assistant_item(event.item_id, "in_progress")
        output = self._output(event.response_id, event.item_id)
        yield _event(wire.ResponseOutputItemAddedEvent, **output, item=item)
        if event.asked.in_band:
            yield _event(wire.ConversationItemAdded, item=item, previous_item_id=event.previous_id)
        part = _part("", aloud=event.asked.aloud)
        content = self._content(event.response_id, event.item_id)
        yield _event(wire.ResponseContentPartAddedEvent, **content, part=part)

    def _call(self, event: events.FunctionCalled) -> Iterator[BaseModel]:
        """A call is told as a whole."""
        item, previous = event.item, event.previous_id
        begun = {**_any_item(item), "status": "in_progress", "arguments": ""}
        output = self._output(event.response_id, item.id)
        about = {**output, "item_id": item.id, "call_id": item.call_id}
        arguments = _whole(item.text)
        yield _event(wire.ResponseOutputItemAddedEvent, **output, item=begun)
        if event.asked.in_band:
            yield _event(wire.ConversationItemAdded, item=begun, previous_item_id=previous)
        yield _event(wire.ResponseFunctionCallArgumentsDeltaEvent, **about, delta=arguments)
        yield _event(
            wire.ResponseFunctionCallArgumentsDoneEvent,
            **about,
            name=item.name,
            arguments=arguments,
        )
        yield _event(wire.ResponseOutputItemDoneEvent, **output, item=_any_item(item))
        if event.asked.in_band:
            yield _event(wire.ConversationItemDone, item=_any_item(item), previous_item_id=previous)

    def _reply_done(self, event: events.ReplyDone) -> Iterator[BaseModel]:
        asked = event.asked
        status, details = _outcome(event)
        items = {call.id: _any_item(call) for call in event.calls}
        if event.item_id:
            text = _whole(event.text)
            finished = "completed" if status == "completed" else "incomplete"
            item = _assistant_item(event.item_id, finished, text, aloud=asked.aloud)
            items[event.item_id] = item
            content = self._content(event.response_id, event.item_id)
            if asked.aloud is False:
                yield _event(wire.ResponseTextDoneEvent, **content, text=text)
            else:
                yield _event(wire.ResponseAudioDoneEvent, **content)
                yield _event(wire.ResponseAudioTranscriptDoneEvent, **content, transcript=text)
            part = _part(text, aloud=asked.aloud)
            yield _event(wire.ResponseContentPartDoneEvent, **content, part=part)
            output = self._output(event.response_id, event.item_id)
            yield _event(wire.ResponseOutputItemDoneEvent, **output, item=item)
            if asked.in_band:
                previous = event.previous_id
                yield _event(wire.ConversationItemDone, item=item, previous_item_id=previous)
        timings = event.timings.metadata() if event.timings else {}
        response = _response(
            event.response_id,
            asked,
            status,
            output=[items[name] for name in self._outputs.pop(event.response_id, [])],
            status_details=details,
            metadata=_metadata(asked, timings),
            usage=_NO_USAGE,
        )
        yield _event(wire.ResponseDoneEvent, response=response)


def session_fields(model: str, settings: Settings, name: str, ends: int) -> dict[str, Any]:
    """A session as the API shows it.

    Args:
        model: its name.
        settings: of the session.
        name: its id.
        ends: when, by Unix time; 0: not known.
    """
    kind = "realtime.transcription_session" if settings.only_words else "realtime.session"
    shown = _transcription if settings.only_words else _session
    expires = {"expires_at": ends} if ends else {}
    return {"id": name, "object": kind, **expires, **shown(model, settings)}


def _session(model: str, settings: Settings) -> dict[str, Any]:
    detection = {
        **_ending(settings),
        "threshold": settings.threshold,
        "prefix_padding_ms": round(settings.prefix_padding * 1000),
        "create_response": settings.create_response,
        "interrupt_response": settings.interrupt_response,
        **({"half_duplex": True} if settings.half_duplex else {}),
        "idle_timeout_ms": _milliseconds(settings.idle_timeout),
    }
    return {
        "type": "realtime",
        "model": model,
        "instructions": settings.instructions,
        "output_modalities": ["audio"] if settings.aloud else ["text"],
        "audio": {
            "input": {
                "format": _FORMATS[settings.sound_in],
                "transcription": _written(model, settings) if settings.wants_words else None,
                "noise_reduction": None,
                "turn_detection": detection if settings.turn_detection else None,
            },
            "output": {"format": _FORMATS[settings.sound_out], "voice": "default", "speed": 1.0},
        },
        "tools": [_function(function) for function in settings.tools.functions],
        "tool_choice": _choice(settings.tools),
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
    }


def _transcription(model: str, settings: Settings) -> dict[str, Any]:
    """A session that answers nothing."""
    detection = {
        **_ending(settings),
        "threshold": settings.threshold,
        "prefix_padding_ms": round(settings.prefix_padding * 1000),
    }
    return {
        "type": "transcription",
        "audio": {
            "input": {
                "format": _FORMATS[settings.sound_in],
                "transcription": {"prompt": "", **_written(model, settings)},
                "noise_reduction": None,
                "turn_detection": detection if settings.turn_detection else None,
            },
        },
        "include": None,
    }


def _written(model: str, settings: Settings) -> dict[str, Any]:
    """How what is said is written down."""
    return {"model": model, **({"language": settings.language} if settings.language else {})}


def _function(function: Function) -> dict[str, Any]:
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": dict(function.parameters),
    }


def _choice(tools: Tools) -> str | dict[str, str]:
    return {"type": "function", "name": tools.only} if tools.only else tools.choice


def _ending(settings: Settings) -> dict[str, Any]:
    """How the end of a turn is found."""
    if settings.patience == "fixed":
        silence = round(settings.silence * 1000)
        return {"type": "server_vad", "silence_duration_ms": silence}
    return {"type": "semantic_vad", "eagerness": _EAGERNESS[settings.patience]}


_Extension = events.ReplyDucked | events.ReplyRestored | events.LimitApproached | events.Ponged


def _extension(event: _Extension) -> str:
    if isinstance(event, events.Ponged):
        return json.dumps({"type": "duologue.pong"})
    if isinstance(event, events.LimitApproached):
        left = _milliseconds(event.left)
        return json.dumps(
            {"type": "duologue.limit.near", "item_id": event.item_id, "remaining_ms": left}
        )
    kind = "ducked" if isinstance(event, events.ReplyDucked) else "restored"
    return json.dumps({"type": f"duologue.reply.{kind}", "item_id": event.item_id})


def _turn_committed(event: events.TurnCommitted) -> Iterator[BaseModel]:
    item_id, previous = event.item_id, event.previous_id
    item = _message(item_id, "user", "completed", [{"type": "input_audio", "transcript": None}])
    yield _event(wire.InputAudioBufferCommittedEvent, item_id=item_id, previous_item_id=previous)
    yield _event(wire.ConversationItemAdded, item=item, previous_item_id=previous)
    yield _event(wire.ConversationItemDone, item=item, previous_item_id=previous)


def _item_added(event: events.ItemAdded) -> Iterator[BaseModel]:
    item = _any_item(event.item)
    yield _event(wire.ConversationItemAdded, item=item, previous_item_id=event.previous_id)
    yield _event(wire.ConversationItemDone, item=item, previous_item_id=event.previous_id)


def _speech_started(event: events.TurnStarted | events.TurnReopened) -> BaseModel:
    return _event(
        wire.InputAudioBufferSpeechStartedEvent,
        item_id=event.item_id,
        audio_start_ms=_milliseconds(event.at),
    )


def _speech_stopped(event: events.SpeechStopped) -> BaseModel:
    return _event(
        wire.InputAudioBufferSpeechStoppedEvent,
        item_id=event.item_id,
        audio_end_ms=_milliseconds(event.at),
    )


def _overheard(event: events.UserOverheard) -> BaseModel:
    return _event(
        wire.ConversationItemInputAudioTranscriptionDeltaEvent,
        item_id=event.item_id,
        content_index=0,
        delta=_whole(event.text),
    )


def _transcribed(event: events.UserTranscribed) -> BaseModel:
    return _event(
        wire.ConversationItemInputAudioTranscriptionCompletedEvent,
        item_id=event.item_id,
        content_index=0,
        transcript=_whole(event.text),
        usage={"type": "duration", "seconds": event.seconds},
    )


def _not_transcribed(event: events.UserNotTranscribed) -> BaseModel:
    error = event.error
    message = _whole(str(error))
    return _event(
        wire.ConversationItemInputAudioTranscriptionFailedEvent,
        item_id=event.item_id,
        content_index=0,
        error={"type": error.type, "code": error.code, "message": message},
    )


def _truncated(event: events.ReplyTruncated) -> BaseModel:
    return _event(
        wire.ConversationItemTruncatedEvent,
        item_id=event.item_id,
        content_index=0,
        audio_end_ms=_milliseconds(event.heard),
    )


def _idle(event: events.IdleTimedOut) -> BaseModel:
    return _event(
        wire.InputAudioBufferTimeoutTriggered,
        item_id=f"item_{secrets.token_hex(12)}",
        audio_start_ms=_milliseconds(event.start),
        audio_end_ms=_milliseconds(event.end),
    )


def _error(event: events.ErrorOccurred) -> BaseModel:
    error = event.error
    return _event(
        wire.RealtimeErrorEvent,
        error={
            "type": error.type,
            "code": error.code,
            "message": _whole(str(error)),
            "param": error.param,
            "event_id": event.event_id,
        },
    )


_SIMPLE: dict[type, Callable[[Any], BaseModel]] = {
    events.TurnStarted: _speech_started,
    events.TurnReopened: _speech_started,
    events.SpeechStopped: _speech_stopped,
    events.ReplyStarted: lambda event: _event(
        wire.ResponseCreatedEvent,
        response=_response(event.response_id, event.asked, "in_progress"),
    ),
    events.ItemSent: lambda event: _event(ConversationItemRetrieved, item=_any_item(event.item)),
    events.ItemDeleted: lambda event: _event(
        wire.ConversationItemDeletedEvent, item_id=event.item_id
    ),
    events.AudioCleared: lambda _: _event(wire.InputAudioBufferClearedEvent),
    events.UserOverheard: _overheard,
    events.UserTranscribed: _transcribed,
    events.UserNotTranscribed: _not_transcribed,
    events.ReplyTruncated: _truncated,
    events.IdleTimedOut: _idle,
    events.ErrorOccurred: _error,
}


def _event(model: type[_Model], **fields: Any) -> _Model:
    """An event of this kind, with an id of its own."""
    (kind,) = model.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
    return model.model_validate({"type": kind, "event_id": _event_id(), **fields})


def _event_id() -> str:
    return f"event_{secrets.token_hex(8)}"


def _part(text: str, *, aloud: bool | None) -> dict[str, Any]:
    """The content of a reply as the events of its parts have it."""
    return (
        {"type": "text", "text": text} if aloud is False else {"type": "audio", "transcript": text}
    )


def _message(item_id: str, role: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "message",
        "object": "realtime.item",
        "id": item_id,
        "role": role,
        "status": status,
        "content": content,
    }


def _assistant_item(
    item_id: str, status: str, text: str | None = None, *, aloud: bool | None = True
) -> dict[str, Any]:
    content = []
    if text is not None:
        spoken = {"type": "output_audio", "transcript": text}
        content = [{"type": "output_text", "text": text} if aloud is False else spoken]
    return _message(item_id, "assistant", status, content)


def _any_item(item: Item) -> dict[str, Any]:
    """An item as it is now."""
    status = "in_progress" if item.status == "in_progress" else "completed"
    if item.status in ("interrupted", "failed"):
        status = "incomplete"
    if item.kind != "message":
        call = {"name": item.name, "arguments": item.text}
        fields = call if item.kind == "function_call" else {"output": item.text}
        return {
            "type": item.kind,
            "object": "realtime.item",
            "id": item.id,
            "status": "completed",
            "call_id": item.call_id,
            **fields,
        }
    if item.role == "assistant":
        aloud = any(chunk.audio for chunk in item.spoken)
        return _assistant_item(item.id, status, _whole(item.said), aloud=aloud)
    if item.sound:
        content = {"type": "input_audio", "transcript": item.words}
    else:
        content = {"type": "input_text", "text": item.text}
    return _message(item.id, item.role, "completed", [content])


def _response(
    response_id: str, asked: events.ReplyRequested, status: str, **more: Any
) -> dict[str, Any]:
    return {
        "object": "realtime.response",
        "id": response_id,
        "status": status,
        "status_details": None,
        "output": [],
        "output_modalities": ["text"] if asked.aloud is False else ["audio"],
        "conversation_id": _CONVERSATION if asked.in_band else None,
        "max_output_tokens": "inf",
        "metadata": _metadata(asked, {}),
        "usage": None,
        **more,
    }


def _metadata(asked: events.ReplyRequested, timings: dict[str, str]) -> dict[str, str] | None:
    """The client's own; ours beside it, as far as 16 pairs have room."""
    ours = {name: value for name, value in timings.items() if name not in asked.metadata}
    room = _PAIRS - len(asked.metadata)
    return {**asked.metadata, **dict(list(ours.items())[:room])} or None


def _outcome(event: events.ReplyDone) -> tuple[str, dict[str, Any] | None]:
    """The response's status and its details."""
    if event.reason == "completed":
        return "completed", None
    if event.error:
        message = _whole(str(event.error))
        error = {"type": event.error.type, "code": event.error.code, "message": message}
        return "failed", {"type": "failed", "error": error}
    return "cancelled", {"type": "cancelled", "reason": event.reason}


def _whole(text: str) -> str:
    """The text without halves of characters (lone surrogates), which cannot be sent."""
    return text.encode(errors="replace").decode()


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
