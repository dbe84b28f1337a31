"""The OpenAI Realtime API (GA) as text: JSON in, events out, and back. Pure.

Everything is parsed and built with the `openai` package's own types. An id on the wire is made of
the turn's id, so that nothing has to be looked up: `item_u…` the user's item, `item_a…` the
assistant's, `resp_…` the response.

What the API has no event for is called `duologue.…`: from the client, when playback started and that
the user was cut off; to a client that asks for extensions, that a reply is to be played quieter.
"""

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from openai.types import realtime as wire
from openai.types.realtime.realtime_audio_input_turn_detection import SemanticVad
from openai.types.realtime.realtime_session_create_request import RealtimeSessionCreateRequest
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from duologue import events
from duologue.audio import REPLY_RATE, from_pcm16
from duologue.errors import DuologueError, InvalidEvent
from duologue.events import ClientErred, ClientEvent, PatienceSetting, Settings

WIRE_RATE = 24_000
"""Hertz of PCM16 on the wire, both ways; the only one the API has for `audio/pcm`."""

_LONGEST = 3_600_000  # milliseconds; no reply outlasts the API's longest session

_Model = TypeVar("_Model", bound=BaseModel)


class _Append(wire.InputAudioBufferAppendEvent):
    """`echo`: this chunk is no louder than what the client plays is in its microphone."""

    echo: StrictBool = False


class _PlaybackStarted(BaseModel):
    """The first sample of an item left the loudspeaker this long before the message."""

    model_config = ConfigDict(strict=True)

    type: Literal["duologue.playback.started"]
    item_id: Annotated[str, Field(pattern="^item_a")]
    ago_ms: Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]


class _CutMarked(BaseModel):
    """You cut me off."""

    type: Literal["duologue.cut.marked"]


_CLIENT_EVENTS: dict[str, type[BaseModel]] = {
    "session.update": wire.SessionUpdateEvent,
    "input_audio_buffer.append": _Append,
    "input_audio_buffer.commit": wire.InputAudioBufferCommitEvent,
    "input_audio_buffer.clear": wire.InputAudioBufferClearEvent,
    "conversation.item.truncate": wire.ConversationItemTruncateEvent,
    "response.create": wire.ResponseCreateEvent,
    "response.cancel": wire.ResponseCancelEvent,
    "duologue.playback.started": _PlaybackStarted,
    "duologue.cut.marked": _CutMarked,
}

_PLAIN: dict[type[BaseModel], ClientEvent] = {
    wire.InputAudioBufferCommitEvent: events.CommitRequested(),
    wire.InputAudioBufferClearEvent: events.ClearRequested(),
    wire.ResponseCreateEvent: events.ReplyRequested(),
    wire.ResponseCancelEvent: events.ReplyCancelled(),
    _CutMarked: events.CutMarked(),
}

_PATIENCE: dict[str | None, PatienceSetting] = {
    "low": "patient",
    "medium": "normal",
    "auto": "normal",
    None: "normal",
    "high": "quick",
}
_EAGERNESS = {"patient": "low", "normal": "medium", "quick": "high"}


def decode(message: str | bytes, settings: Settings) -> ClientEvent:
    """Read one client event.

    Args:
        message: JSON; `audio` in it is base64 of PCM16 at `WIRE_RATE`.
        settings: those that hold now; `session.update` changes what it names of them.

    Returns:
        The event; `ClientErred` for what is none. Audio comes as it was sent, at `WIRE_RATE`.
    """
    event_id = None
    try:
        fields = _parse(message)
        event_id = fields.get("event_id") if isinstance(fields.get("event_id"), str) else None
        return _decode(fields, settings)
    except DuologueError as error:
        return ClientErred(error, event_id)


def _parse(message: str | bytes) -> dict[str, Any]:
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"an event is a JSON object, and this is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidEvent(f"an event is a JSON object, not a JSON {type(fields).__name__}")
    return fields


def _decode(fields: dict[str, Any], settings: Settings) -> ClientEvent:
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in _CLIENT_EVENTS:
        known = ", ".join(_CLIENT_EVENTS)
        raise InvalidEvent(
            f"the event type {fields.get('type')!r} is not known here; known are {known}"
        )
    if kind == "session.update":
        return events.SettingsChanged(_merge(settings, fields.get("session")))
    message = _validate(_CLIENT_EVENTS[kind], fields, kind)
    match message:
        case _Append(audio=audio, echo=echo):
            return events.AudioReceived(from_pcm16(_unbase64(audio), WIRE_RATE), echo)
        case wire.ConversationItemTruncateEvent(item_id=item_id, audio_end_ms=end):
            if not item_id.startswith("item_a") or not 0 <= end <= _LONGEST:
                raise InvalidEvent(
                    f"only an assistant's item can be truncated, to 0 to {_LONGEST} ms"
                )
            return events.PlaybackTruncated(item_id.removeprefix("item_a"), end / 1000)
        case _PlaybackStarted(item_id=item_id, ago_ms=ago):
            return events.PlaybackStarted(item_id.removeprefix("item_a"), ago / 1000)
        case _:
            return _PLAIN[type(message)]


def _validate(model: type[_Model], fields: object, where: str) -> _Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        # Of a union's errors, the deepest is about the member that was meant; not that of another type.
        worst = max(
            error.errors(), key=lambda detail: (len(detail["loc"]), detail["loc"][-1:] != ("type",))
        )
        path = ".".join(str(part) for part in worst["loc"] if str(part).islower())
        raise InvalidEvent(f"{where}: {path or 'the event'}: {worst['msg']}") from error


def _unbase64(audio: str) -> bytes:
    try:
        data = base64.b64decode(audio, validate=True)
    except ValueError as error:  # binascii.Error among them; not for what is no ASCII
        raise InvalidEvent(f"audio must be base64: {error}") from error
    if not data:
        raise InvalidEvent("audio is empty; send at least one sample")
    return data


def _merge(settings: Settings, session: object) -> Settings:
    """The settings with what `session` names changed. Fields that mean nothing here are ignored."""
    request = _validate(RealtimeSessionCreateRequest, session, "session.update")
    sent = request.model_fields_set
    if "instructions" in sent:
        settings = replace(settings, instructions=request.instructions or "")
    audio = request.audio
    for side in (audio and audio.input, audio and audio.output):
        _check_format(side.format if side else None)
    if audio and audio.input and "turn_detection" in audio.input.model_fields_set:
        settings = _merge_turn_detection(settings, audio.input.turn_detection)
    return settings


def _check_format(requested: BaseModel | None) -> None:
    if not requested:
        return
    kind, rate = getattr(requested, "type", None), getattr(requested, "rate", None)
    if kind not in (None, "audio/pcm") or rate not in (None, WIRE_RATE):
        raise InvalidEvent(
            f"audio goes as audio/pcm at {WIRE_RATE} Hz here, not as {kind} at {rate} Hz"
        )


def _merge_turn_detection(settings: Settings, detection: BaseModel | None) -> Settings:
    if detection is None:
        return replace(settings, turn_detection=False)
    changes: dict[str, Any] = {"turn_detection": True, "patience": "fixed"}
    if isinstance(detection, SemanticVad):
        changes["patience"] = _PATIENCE[detection.eagerness]
    # The API has the numbers for server_vad only; most mean the same for semantic_vad.
    for name in detection.model_fields_set:
        value = getattr(detection, name, None)
        if name in _NUMBERS and (value is not None or name == "idle_timeout_ms"):
            field, unit, low, high = _NUMBERS[name]
            changes[field] = None if value is None else _number(name, value, low, high) / unit
        elif name in ("create_response", "interrupt_response") and value is not None:
            changes[name] = value
    return replace(settings, **changes)


_NUMBERS: dict[str, tuple[str, int, float, float]] = {
    "threshold": ("threshold", 1, 0, 1),
    "prefix_padding_ms": ("prefix_padding", 1000, 0, 5000),
    "silence_duration_ms": ("silence", 1000, 100, 10_000),
    "idle_timeout_ms": ("idle_timeout", 1000, 1000, 3_600_000),
}
"""name: (field of `Settings`, how many of the one are one of the other, lowest, highest)"""


def _number(name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidEvent(f"session.update: {name} is a number, not {value!r}")
    if not low <= value <= high:
        raise InvalidEvent(f"session.update: {name} goes from {low} to {high}, not {value}")
    return value


class Encoder:
    """Server events as messages, in the order that the API documents.

    It remembers one thing: whose item was opened last, because the first piece of a reply opens it.

    Args:
        model: its name.
        extensions: the client knows the events that the API does not have.
    """

    def __init__(self, model: str, *, extensions: bool = False) -> None:
        self._model = model
        self._extensions = extensions
        self._opened: str | None = None  # the turn id
        self._done = True  # the item is complete

    def encode(self, event: events.ServerEvent) -> Iterator[str]:
        """The messages for one event, none to many."""
        if isinstance(event, events.ReplyDucked | events.ReplyRestored):
            if self._extensions:
                yield _extension(event)
            return
        for message in self._messages(event):
            yield message.to_json(indent=None)  # type: ignore[attr-defined]

    def _messages(self, event: events.ServerEvent) -> Iterator[BaseModel]:
        match event:
            case events.ReplyDelta():
                yield from self._reply_delta(event)
            case events.ReplyDone():
                yield from self._reply_done(event)
            case events.TurnCommitted(turn_id, previous_id):
                yield from _turn_committed(turn_id, previous_id)
            case events.SessionStarted(_, settings):
                yield _event(wire.SessionCreatedEvent, session=self._session(settings))
            case events.SettingsApplied(settings):
                yield _event(wire.SessionUpdatedEvent, session=self._session(settings))
            case events.TurnWithdrawn(turn_id):
                yield _event(wire.ConversationItemDeletedEvent, item_id=f"item_u{turn_id}")
                if self._opened == turn_id:
                    yield _event(wire.ConversationItemDeletedEvent, item_id=f"item_a{turn_id}")
            case events.ReplyStarted(turn_id):
                yield _event(wire.ResponseCreatedEvent, response=_response(turn_id, "in_progress"))
            case _:
                yield _SIMPLE[type(event)](event)

    def _session(self, settings: Settings) -> dict[str, Any]:
        detection = {
            **_ending(settings),
            "threshold": settings.threshold,
            "prefix_padding_ms": round(settings.prefix_padding * 1000),
            "create_response": settings.create_response,
            "interrupt_response": settings.interrupt_response,
            "idle_timeout_ms": _milliseconds(settings.idle_timeout),
        }
        pcm = {"type": "audio/pcm", "rate": WIRE_RATE}
        return {
            "type": "realtime",
            "model": self._model,
            "instructions": settings.instructions,
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": pcm,
                    "turn_detection": detection if settings.turn_detection else None,
                },
                "output": {"format": pcm},
            },
        }

    def _reply_delta(self, event: events.ReplyDelta) -> Iterator[BaseModel]:
        turn_id = event.turn_id
        if self._opened != turn_id:
            self._opened, self._done = turn_id, False
            item = _assistant_item(turn_id, "in_progress")
            yield _event(wire.ResponseOutputItemAddedEvent, **_output(turn_id), item=item)
            yield _event(wire.ConversationItemAdded, item=item, previous_item_id=f"item_u{turn_id}")
            part = {"type": "audio", "transcript": ""}
            yield _event(wire.ResponseContentPartAddedEvent, **_content(turn_id), part=part)
        if event.text:
            yield _event(
                wire.ResponseAudioTranscriptDeltaEvent, **_content(turn_id), delta=event.text
            )
        if event.audio:
            sound = base64.b64encode(event.audio.at(REPLY_RATE).pcm16()).decode()
            yield _event(wire.ResponseAudioDeltaEvent, **_content(turn_id), delta=sound)

    def _reply_done(self, event: events.ReplyDone) -> Iterator[BaseModel]:
        turn_id = event.turn_id
        items = []
        if self._opened == turn_id and not self._done:
            self._done = True
            status = "completed" if event.reason == "completed" else "incomplete"
            item = _assistant_item(turn_id, status, event.text)
            items.append(item)
            part = {"type": "audio", "transcript": event.text}
            content = _content(turn_id)
            yield _event(wire.ResponseAudioDoneEvent, **content)
            yield _event(wire.ResponseAudioTranscriptDoneEvent, **content, transcript=event.text)
            yield _event(wire.ResponseContentPartDoneEvent, **content, part=part)
            yield _event(wire.ResponseOutputItemDoneEvent, **_output(turn_id), item=item)
            yield _event(wire.ConversationItemDone, item=item, previous_item_id=f"item_u{turn_id}")
        status, details = _outcome(event)
        receipt = {"metadata": event.receipt.metadata()} if event.receipt else {}
        response = _response(turn_id, status, output=items, status_details=details, **receipt)
        yield _event(wire.ResponseDoneEvent, response=response)


def _ending(settings: Settings) -> dict[str, Any]:
    """How the end of a turn is found."""
    if settings.patience == "fixed":
        silence = round(settings.silence * 1000)
        return {"type": "server_vad", "silence_duration_ms": silence}
    return {"type": "semantic_vad", "eagerness": _EAGERNESS[settings.patience]}


def _extension(event: events.ReplyDucked | events.ReplyRestored) -> str:
    kind = "ducked" if isinstance(event, events.ReplyDucked) else "restored"
    return json.dumps({"type": f"duologue.reply.{kind}", "item_id": f"item_a{event.turn_id}"})


def _turn_committed(turn_id: str, previous_id: str | None) -> Iterator[BaseModel]:
    item_id = f"item_u{turn_id}"
    previous = f"item_a{previous_id}" if previous_id else None
    item = {
        "type": "message",
        "object": "realtime.item",
        "id": item_id,
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_audio"}],
    }
    yield _event(wire.InputAudioBufferCommittedEvent, item_id=item_id, previous_item_id=previous)
    yield _event(wire.ConversationItemAdded, item=item, previous_item_id=previous)
    yield _event(wire.ConversationItemDone, item=item, previous_item_id=previous)


def _speech_started(event: events.TurnStarted | events.TurnReopened) -> BaseModel:
    return _event(
        wire.InputAudioBufferSpeechStartedEvent,
        item_id=f"item_u{event.turn_id}",
        audio_start_ms=_milliseconds(event.at),
    )


def _speech_stopped(event: events.SpeechStopped) -> BaseModel:
    return _event(
        wire.InputAudioBufferSpeechStoppedEvent,
        item_id=f"item_u{event.turn_id}",
        audio_end_ms=_milliseconds(event.at),
    )


def _transcribed(event: events.UserTranscribed) -> BaseModel:
    return _event(
        wire.ConversationItemInputAudioTranscriptionCompletedEvent,
        item_id=f"item_u{event.turn_id}",
        content_index=0,
        transcript=event.text,
        usage={"type": "duration", "seconds": event.seconds},
    )


def _truncated(event: events.ReplyTruncated) -> BaseModel:
    return _event(
        wire.ConversationItemTruncatedEvent,
        item_id=f"item_a{event.turn_id}",
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
            "message": str(error),
            "event_id": event.event_id,
        },
    )


_SIMPLE: dict[type, Callable[[Any], BaseModel]] = {
    events.TurnStarted: _speech_started,
    events.TurnReopened: _speech_started,
    events.SpeechStopped: _speech_stopped,
    events.AudioCleared: lambda _: _event(wire.InputAudioBufferClearedEvent),
    events.UserTranscribed: _transcribed,
    events.ReplyTruncated: _truncated,
    events.IdleTimedOut: _idle,
    events.ErrorOccurred: _error,
}


def _event(model: type[_Model], **fields: Any) -> _Model:
    """An event of this kind, with an id of its own."""
    (kind,) = model.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
    return model.model_validate(
        {"type": kind, "event_id": f"event_{secrets.token_hex(8)}", **fields}
    )


def _output(turn_id: str) -> dict[str, Any]:
    return {"response_id": f"resp_{turn_id}", "output_index": 0}


def _content(turn_id: str) -> dict[str, Any]:
    return {**_output(turn_id), "item_id": f"item_a{turn_id}", "content_index": 0}


def _assistant_item(turn_id: str, status: str, transcript: str | None = None) -> dict[str, Any]:
    content = [] if transcript is None else [{"type": "output_audio", "transcript": transcript}]
    return {
        "type": "message",
        "object": "realtime.item",
        "id": f"item_a{turn_id}",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _response(turn_id: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "object": "realtime.response",
        "id": f"resp_{turn_id}",
        "status": status,
        "output": [],
        "output_modalities": ["audio"],
        **more,
    }


def _outcome(event: events.ReplyDone) -> tuple[str, dict[str, Any] | None]:
    """The response's status and its details."""
    if event.reason == "completed":
        return "completed", None
    if event.error:
        error = {"type": event.error.type, "code": event.error.code, "message": str(event.error)}
        return "failed", {"type": "failed", "error": error}
    return "cancelled", {"type": "cancelled", "reason": event.reason}


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
