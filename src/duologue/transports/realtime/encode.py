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
from typing import Any

from openai.types import realtime as wire
from openai.types.realtime.realtime_server_event import ConversationItemRetrieved
from pydantic import BaseModel

from duologue.audio import REPLY_RATE, AudioChunk, LineFormat
from duologue.conversation import events
from duologue.conversation.items import Usage
from duologue.settings import Settings
from duologue.transports.realtime.decode_output import UNNAMED
from duologue.transports.realtime.encode_items import (
    any_item,
    assistant_item,
    event_id,
    event_of,
    message,
    whole,
)
from duologue.transports.realtime.encode_tools import (
    ToolEvent,
    encode_call,
    encode_tools,
    tool_fields,
)
from duologue.transports.realtime.formats import Writer

_DELTA = REPLY_RATE  # samples of one delta: 64 KiB of base64, where some clients take 512
_PAIRS = 16  # of metadata
_CONVERSATION = "conv_default"
_FORMATS: dict[LineFormat, dict[str, Any]] = {
    "pcm24": {"type": "audio/pcm", "rate": 24_000},
    "pcm16": {"type": "audio/pcm", "rate": 16_000},
    "pcmu": {"type": "audio/pcmu"},
    "pcma": {"type": "audio/pcma"},
}
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
        self._calls: dict[
            str, int
        ] = {}  # id of a call of a server that is under way -> its output_index

    def encode(self, event: events.ServerEvent) -> Iterator[str]:
        """The messages for one event, none to many."""
        if isinstance(event, _Extension):
            if self._extensions:
                yield _extension(event)
            return
        if isinstance(event, events.SessionStarted | events.SettingsApplied):
            yield self._session_message(event)
            return
        told = self._tools(event) if isinstance(event, ToolEvent) else self._messages(event)
        for each in told:
            yield each.to_json(indent=None)  # type: ignore[attr-defined]

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
            case events.UserOverheard() | events.UserTranscribed():
                yield from self._words(event)
            case events.ItemsWithdrawn(item_ids):
                for item_id in item_ids:
                    yield event_of(wire.ConversationItemDeletedEvent, item_id=item_id)
            case _:
                yield _SIMPLE[type(event)](event)

    def _words(self, event: events.UserOverheard | events.UserTranscribed) -> Iterator[BaseModel]:
        """Partial words may be taken back, which the API cannot say: so they are an extension."""
        certain = isinstance(event, events.UserTranscribed)
        if certain != self._extensions and event.text:
            yield _overheard(event.item_id, event.text)
        if isinstance(event, events.UserTranscribed):
            yield _transcribed(event)

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
        return json.dumps({"type": kind, "event_id": event_id(), "session": session})

    def _reply_delta(self, event: events.ReplyDelta) -> Iterator[BaseModel]:
        content = self._content(event.response_id, event.item_id)
        if event.text:
            words = wire.ResponseAudioTranscriptDeltaEvent
            kind = words if event.aloud else wire.ResponseTextDeltaEvent
            yield event_of(kind, **content, delta=whole(event.text))
        if event.audio:
            samples = event.audio.at(REPLY_RATE).samples
            for start in range(0, len(samples), _DELTA):
                piece = AudioChunk(samples[start : start + _DELTA], REPLY_RATE)
                if data := self._writer.push(piece):
                    sound = base64.b64encode(data).decode()
                    yield event_of(wire.ResponseAudioDeltaEvent, **content, delta=sound)

    def _output(self, response_id: str, item_id: str) -> dict[str, Any]:
        """Which part of a response an item is."""
        items = self._outputs.setdefault(response_id, [])
        if item_id not in items:
            items.append(item_id)
        return {"response_id": response_id, "output_index": items.index(item_id)}

    def _content(self, response_id: str, item_id: str) -> dict[str, Any]:
        return {**self._output(response_id, item_id), "item_id": item_id, "content_index": 0}

    def _reply_item(self, event: events.ReplyItemAdded) -> Iterator[BaseModel]:
        item = assistant_item(event.item_id, "in_progress")
        output = self._output(event.response_id, event.item_id)
        yield event_of(wire.ResponseOutputItemAddedEvent, **output, item=item)
        if event.asked.in_band:
            yield event_of(
                wire.ConversationItemAdded, item=item, previous_item_id=event.previous_id
            )
        part = _part("", aloud=event.asked.aloud)
        content = self._content(event.response_id, event.item_id)
        yield event_of(wire.ResponseContentPartAddedEvent, **content, part=part)

    def _call(self, event: events.FunctionCalled) -> Iterator[BaseModel]:
        output = self._output(event.response_id, event.item.id)
        if event.item.kind == "mcp_call":
            self._calls[event.item.id] = output["output_index"]
        yield from encode_call(event, output)

    def _tools(self, event: ToolEvent) -> Iterator[BaseModel]:
        yield from encode_tools(event, self._calls.get(event.item.id, 0))
        if isinstance(event, events.ToolCallEnded):
            self._calls.pop(event.item.id, None)

    def _reply_done(self, event: events.ReplyDone) -> Iterator[BaseModel]:
        asked = event.asked
        status, details = _outcome(event)
        items = {call.id: any_item(call) for call in event.calls}
        if event.item_id:
            text = whole(event.text)
            finished = "completed" if status == "completed" else "incomplete"
            item = assistant_item(event.item_id, finished, text, aloud=asked.aloud)
            items[event.item_id] = item
            content = self._content(event.response_id, event.item_id)
            if asked.aloud is False:
                yield event_of(wire.ResponseTextDoneEvent, **content, text=text)
            else:
                yield event_of(wire.ResponseAudioDoneEvent, **content)
                yield event_of(wire.ResponseAudioTranscriptDoneEvent, **content, transcript=text)
            part = _part(text, aloud=asked.aloud)
            yield event_of(wire.ResponseContentPartDoneEvent, **content, part=part)
            output = self._output(event.response_id, event.item_id)
            yield event_of(wire.ResponseOutputItemDoneEvent, **output, item=item)
            if asked.in_band:
                previous = event.previous_id
                yield event_of(wire.ConversationItemDone, item=item, previous_item_id=previous)
        timings = event.timings.metadata() if event.timings else {}
        response = _response(
            event.response_id,
            asked,
            status,
            output=[items[name] for name in self._outputs.pop(event.response_id, [])],
            status_details=details,
            metadata=_metadata(asked, timings),
            usage=_usage(event.usage),
        )
        yield event_of(wire.ResponseDoneEvent, response=response)


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
            "output": {
                "format": _FORMATS[settings.sound_out],
                "voice": settings.voice or UNNAMED,
                "speed": settings.speed,
            },
        },
        **tool_fields(settings.tools),
        "max_output_tokens": settings.max_output_tokens or "inf",
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


def _ending(settings: Settings) -> dict[str, Any]:
    """How the end of a turn is found."""
    if settings.patience == "fixed":
        silence = round(settings.silence * 1000)
        return {"type": "server_vad", "silence_duration_ms": silence}
    return {"type": "semantic_vad", "eagerness": _EAGERNESS[settings.patience]}


_Extension = (
    events.ReplyDucked
    | events.ReplyHeld
    | events.ReplyRestored
    | events.LimitApproached
    | events.Ponged
)
_REPLY = {events.ReplyDucked: "ducked", events.ReplyHeld: "held", events.ReplyRestored: "restored"}


def _extension(event: _Extension) -> str:
    if isinstance(event, events.Ponged):
        return json.dumps({"type": "duologue.pong"})
    if isinstance(event, events.LimitApproached):
        left = _milliseconds(event.left)
        return json.dumps(
            {"type": "duologue.limit.near", "item_id": event.item_id, "remaining_ms": left}
        )
    told = {"type": f"duologue.reply.{_REPLY[type(event)]}", "item_id": event.item_id}
    if isinstance(event, events.ReplyRestored) and event.nod_id:
        told["nod_item_id"] = event.nod_id
    return json.dumps(told)


def _turn_committed(event: events.TurnCommitted) -> Iterator[BaseModel]:
    item_id, previous = event.item_id, event.previous_id
    item = message(item_id, "user", "completed", [{"type": "input_audio", "transcript": None}])
    yield event_of(wire.InputAudioBufferCommittedEvent, item_id=item_id, previous_item_id=previous)
    yield event_of(wire.ConversationItemAdded, item=item, previous_item_id=previous)
    yield event_of(wire.ConversationItemDone, item=item, previous_item_id=previous)


def _item_added(event: events.ItemAdded) -> Iterator[BaseModel]:
    item = any_item(event.item)
    yield event_of(wire.ConversationItemAdded, item=item, previous_item_id=event.previous_id)
    yield event_of(wire.ConversationItemDone, item=item, previous_item_id=event.previous_id)


def _speech_started(event: events.TurnStarted | events.TurnReopened) -> BaseModel:
    return event_of(
        wire.InputAudioBufferSpeechStartedEvent,
        item_id=event.item_id,
        audio_start_ms=_milliseconds(event.at),
    )


def _speech_stopped(event: events.SpeechStopped) -> BaseModel:
    return event_of(
        wire.InputAudioBufferSpeechStoppedEvent,
        item_id=event.item_id,
        audio_end_ms=_milliseconds(event.at),
    )


def _overheard(item_id: str, text: str) -> BaseModel:
    return event_of(
        wire.ConversationItemInputAudioTranscriptionDeltaEvent,
        item_id=item_id,
        content_index=0,
        delta=whole(text),
    )


def _transcribed(event: events.UserTranscribed) -> BaseModel:
    return event_of(
        wire.ConversationItemInputAudioTranscriptionCompletedEvent,
        item_id=event.item_id,
        content_index=0,
        transcript=whole(event.text),
        usage={"type": "duration", "seconds": event.seconds},
    )


def _not_transcribed(event: events.UserNotTranscribed) -> BaseModel:
    error = event.error
    message = whole(str(error))
    return event_of(
        wire.ConversationItemInputAudioTranscriptionFailedEvent,
        item_id=event.item_id,
        content_index=0,
        error={"type": error.type, "code": error.code, "message": message},
    )


def _truncated(event: events.ReplyTruncated) -> BaseModel:
    return event_of(
        wire.ConversationItemTruncatedEvent,
        item_id=event.item_id,
        content_index=0,
        audio_end_ms=_milliseconds(event.heard),
    )


def _idle(event: events.IdleTimedOut) -> BaseModel:
    return event_of(
        wire.InputAudioBufferTimeoutTriggered,
        item_id=f"item_{secrets.token_hex(12)}",
        audio_start_ms=_milliseconds(event.start),
        audio_end_ms=_milliseconds(event.end),
    )


def _error(event: events.ErrorOccurred) -> BaseModel:
    error = event.error
    return event_of(
        wire.RealtimeErrorEvent,
        error={
            "type": error.type,
            "code": error.code,
            "message": whole(str(error)),
            "param": error.param,
            "event_id": event.event_id,
        },
    )


_SIMPLE: dict[type, Callable[[Any], BaseModel]] = {
    events.TurnStarted: _speech_started,
    events.TurnReopened: _speech_started,
    events.SpeechStopped: _speech_stopped,
    events.ReplyStarted: lambda event: event_of(
        wire.ResponseCreatedEvent,
        response=_response(event.response_id, event.asked, "in_progress"),
    ),
    events.ItemSent: lambda event: event_of(ConversationItemRetrieved, item=any_item(event.item)),
    events.ItemDeleted: lambda event: event_of(
        wire.ConversationItemDeletedEvent, item_id=event.item_id
    ),
    events.AudioCleared: lambda _: event_of(wire.InputAudioBufferClearedEvent),
    events.UserNotTranscribed: _not_transcribed,
    events.ReplyTruncated: _truncated,
    events.IdleTimedOut: _idle,
    events.ErrorOccurred: _error,
}


def _part(text: str, *, aloud: bool | None) -> dict[str, Any]:
    """The content of a reply as the events of its parts have it."""
    return (
        {"type": "text", "text": text} if aloud is False else {"type": "audio", "transcript": text}
    )


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
        "audio": None if asked.aloud is False else {"output": {"voice": asked.voice or UNNAMED}},
        "conversation_id": _CONVERSATION if asked.in_band else None,
        "max_output_tokens": asked.max_output_tokens or "inf",
        "metadata": _metadata(asked, {}),
        "usage": None,
        **more,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    read = usage.input_text + usage.input_audio
    made = usage.output_text + usage.output_audio
    return {
        "total_tokens": read + made,
        "input_tokens": read,
        "output_tokens": made,
        "input_token_details": {
            "text_tokens": usage.input_text,
            "audio_tokens": usage.input_audio,
            "cached_tokens": 0,
        },
        "output_token_details": {
            "text_tokens": usage.output_text,
            "audio_tokens": usage.output_audio,
        },
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
        message = whole(str(event.error))
        error = {"type": event.error.type, "code": event.error.code, "message": message}
        return "failed", {"type": "failed", "error": error}
    if event.reason == "max_output_tokens":
        return "incomplete", {"type": "incomplete", "reason": event.reason}
    return "cancelled", {"type": "cancelled", "reason": event.reason}


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
