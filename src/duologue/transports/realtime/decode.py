"""Messages of the OpenAI Realtime API (GA) to events. Pure.

Everything is parsed with the `openai` package's own types. An id on the wire is made of the turn's id
(`encode`), so that nothing has to be looked up.

What the API has no event for is called `duologue.…`: when playback started, and that the user was cut
off.
"""

import base64
import json
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from openai.types import realtime as wire
from openai.types.realtime.realtime_audio_input_turn_detection import SemanticVad
from openai.types.realtime.realtime_session_create_request import RealtimeSessionCreateRequest
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from duologue import events
from duologue.audio import from_pcm16
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


def decode_event(message: str | bytes, settings: Settings) -> ClientEvent:
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
