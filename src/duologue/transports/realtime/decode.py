"""Messages of the OpenAI Realtime API (GA) to events. Pure.

What the `openai` package has types for is parsed with them; items and requests, of which clients write more
kinds than those, with types of our own (`decode_items`).

What the API has no event for is called `duologue.…`: when playback started, that the user was cut off,
and whether the session still answers.

Whatever a stranger sends holds the interpreter for a few milliseconds at most: only sound may be long,
it is read second by second, and pydantic sees no more than the fields that mean something here.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any

from openai.types import realtime as wire
from openai.types.realtime.realtime_audio_input_turn_detection import SemanticVad
from openai.types.realtime.realtime_session_create_request import RealtimeSessionCreateRequest
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from duologue.audio import (
    INPUT_RATE,
    AudioChunk,
    LineFormat,
    concatenate,
    unbase64,
)
from duologue.conversation import events
from duologue.conversation.events import ClientErred, ClientEvent, Wish
from duologue.errors import (
    AudioTooLong,
    DuologueError,
    InvalidAudio,
    InvalidEvent,
    InvalidField,
    MessageTooBig,
    quoted,
)
from duologue.settings import PatienceSetting, Settings
from duologue.tools import NO_TOOLS
from duologue.transports.realtime.decode_items import decode_item, decode_request
from duologue.transports.realtime.decode_output import decode_output
from duologue.transports.realtime.decode_tools import decode_tools
from duologue.transports.realtime.fields import Listed, Shape, validate
from duologue.transports.realtime.formats import Reader, bytes_of, check, read

SHORT = 64 * 1024
"""Characters that a message may have besides its sound; but `LONG` where it is an item."""

LONG = 160 * 1024
"""Characters of an item in words: what a function gave may be long, and is read in no time."""

_SECOND = 64_000  # characters of base64: a second of sound, decoded in 0.3 ms
_CUT = f"sound {secrets.token_hex(8)}"  # stands where the sound was cut out of a long message
_NAMED = re.compile(r'"event_id"\s*:\s*"([^"\\]{1,512})"')
_ENDS = 2_000  # characters at each end of a long message in which its name is looked for
_NAME = 512  # characters of the client's own name for an event: what the API allows

_DICTATION = (
    300.0  # seconds of an utterance that is written down only: no model has to take it at once
)
_LONGEST = 3_600_000  # milliseconds; no reply outlasts the API's longest session


class _Append(wire.InputAudioBufferAppendEvent):
    """`echo`: this chunk is no louder than what the client plays is in its microphone."""

    echo: StrictBool = False


class _PlaybackStarted(BaseModel):
    """The first sample of an item left the loudspeaker this long before the message."""

    model_config = ConfigDict(strict=True)

    item_id: Annotated[str, Field(max_length=64)]
    ago_ms: Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]


class _Resume(BaseModel):
    """The reply that has this item was stopped, and shall go on; without an item, the last one."""

    model_config = ConfigDict(strict=True)

    item_id: Annotated[str, Field(max_length=64)] | None = None


_WITH_FIELDS: dict[str, type[BaseModel]] = {
    "session.update": RealtimeSessionCreateRequest,
    "input_audio_buffer.append": _Append,
    "conversation.item.truncate": wire.ConversationItemTruncateEvent,
    "conversation.item.retrieve": wire.ConversationItemRetrieveEvent,
    "conversation.item.delete": wire.ConversationItemDeleteEvent,
    "response.cancel": wire.ResponseCancelEvent,
    "duologue.playback.started": _PlaybackStarted,
    "duologue.reply.resume": _Resume,
}

_PLAIN: dict[str, ClientEvent] = {
    "input_audio_buffer.commit": events.CommitRequested(),
    "input_audio_buffer.clear": events.ClearRequested(),
    "duologue.cut.marked": events.CutMarked(),
    "duologue.ping": events.Pinged(),
}
"""Events of which nothing but the type means something here."""

_CREATE, _RESPOND = "conversation.item.create", "response.create"

_TURN_DETECTION: Shape = dict.fromkeys(
    [
        "type",
        "eagerness",
        "threshold",
        "prefix_padding_ms",
        "silence_duration_ms",
        "idle_timeout_ms",
        "create_response",
        "interrupt_response",
        "half_duplex",
    ]
)
_SESSION: Shape = {
    "type": None,
    "instructions": None,
    "output_modalities": Listed(2),
    "audio": {
        "input": {"turn_detection": _TURN_DETECTION, "transcription": {"language": None}},
    },
}
"""The fields of a session that mean something here."""

_PATIENCE: dict[str | None, PatienceSetting] = {
    "low": "patient",
    "medium": "normal",
    "auto": "normal",
    None: "normal",
    "high": "quick",
}


def decode_message(message: str, settings: Settings) -> Iterator[ClientEvent | None]:
    """Read one message in steps of a few milliseconds; a long sound comes as several events.

    Args:
        message: JSON; `audio` in it is base64 of sound in the format of the settings.
        settings: those that hold now; `session.update` changes what it names of them.

    Yields:
        The event, or the seconds of its sound; `ClientErred` for what is none, and nothing else then.
        None between two steps, for the caller to let others go on. Audio comes at the rate of its format.
    """
    if len(message) <= SHORT:
        yield decode_event(message, settings)
        return
    data, name = bytearray(), _name_in(message)
    try:
        fields, start, end = _cut_out_sound(message)
    except DuologueError as error:
        long = len(message) <= LONG
        yield decode_event(message, settings) if long else ClientErred(error, name)
        return
    try:
        name = _name(fields)
        creates = fields.get("type") in (_CREATE, _RESPOND)
        echo = not creates and validate(_Append, fields, "input_audio_buffer.append").echo
        for piece in _pieces(message, start, end):
            if len(data) % 3:
                raise InvalidAudio("audio must be base64: it goes on after its padding")
            data += unbase64(piece)
            yield None
        check(data, settings.sound_in)
        if creates:
            yield from _create_spoken(fields, data, settings, name)
            return
    except DuologueError as error:
        yield ClientErred(error, name)
        return
    for second in _seconds(data, settings):
        yield events.AudioReceived(second, echo)


def decode_event(message: str, settings: Settings) -> ClientEvent:
    """Read one event of at most `SHORT` characters, or `LONG`, in one step; else as `decode_message`."""
    name = None
    try:
        if len(message) > LONG:
            name = _name_in(message)
            raise _too_big(message)
        fields = _parse(message)
        name = _name(fields)
        if len(message) > SHORT and fields.get("type") != _CREATE:
            raise _too_big(message)
        event = _decode(fields, settings)
        return replace(event, event_id=name) if isinstance(event, Wish) and name else event
    except DuologueError as error:
        return ClientErred(error, name)


def _head(text: str) -> int:
    """Where the base64 of a `data:` URL begins; 0: it is none."""
    return text.find(",", 0, 200) + 1 if text[:5].lower() == "data:" else 0


# A long message: nothing in it may be long but one sound, which the parser of JSON never sees.


def _cut_out_sound(message: str) -> tuple[dict[str, Any], int, int]:
    """The fields of a long `input_audio_buffer.append`, and where its `audio` stands in the JSON.

    What may be long is the string around the middle of the message. A word that no stranger knows takes
    its place, and the `audio` of the event, or of an item's content, must then be that word: so no other
    field can be taken for the sound.
    """
    middle = len(message) // 2
    start, end = message.rfind('"', 0, middle) + 1, message.find('"', middle)
    if not 0 < start < end or len(message) - (end - start) > SHORT:
        raise _too_big(message)
    try:
        fields = _parse(f"{message[:start]}{_CUT}{message[end:]}")
    except InvalidEvent:
        raise _too_big(message) from None
    appended = fields.get("type") == "input_audio_buffer.append" and fields.get("audio") == _CUT
    if not appended and not (fields.get("type") in (_CREATE, _RESPOND) and _CUT in _spoken(fields)):
        raise _too_big(message)
    return fields, start, end


def _spoken(fields: dict[str, Any]) -> list[object]:
    """The base64 of the sounds of an item, or of the items that a response is to answer."""
    response = fields.get("response")
    asked = response.get("input") if isinstance(response, dict) else None
    items = [fields.get("item"), *(asked if isinstance(asked, list) else [])]
    contents = [item.get("content") for item in items if isinstance(item, dict)]
    return [
        part["audio"]
        for content in contents
        if isinstance(content, list)
        for part in content
        if isinstance(part, dict) and "audio" in part
    ]


def _reader(settings: Settings) -> Callable[[str], AudioChunk]:
    """Reads the sound of a short item, at `INPUT_RATE`."""
    return lambda text: Reader(settings.sound_in).push(read(unbase64(text), settings.sound_in))


def _seconds(data: bytes | bytearray, settings: Settings) -> Iterator[AudioChunk]:
    """A long sound, second by second, at the rate of its format."""
    size = bytes_of(settings.sound_in)
    for start in range(0, len(data), size):
        yield read(bytes(data[start : start + size]), settings.sound_in)


def _create_spoken(
    fields: dict[str, Any], data: bytes | bytearray, settings: Settings, name: str | None
) -> Iterator[ClientEvent | None]:
    """An item of a long sound, second by second."""
    if len(data) > settings.time_limit * bytes_of(settings.sound_in):
        raise AudioTooLong(f"an item may hold {settings.time_limit:g} s of sound")
    reader, chunks = Reader(settings.sound_in), []
    for second in _seconds(data, settings):
        chunks.append(reader.push(second))
        yield None
    sound, short = concatenate(chunks, INPUT_RATE), _reader(settings)
    event = _decode_spoken(fields, settings, lambda text: sound if text == _CUT else short(text))
    yield replace(event, event_id=name)


def _decode_spoken(
    fields: dict[str, Any], settings: Settings, read: Callable[[str], AudioChunk]
) -> events.ItemCreated | events.ReplyRequested:
    if fields.get("type") == _CREATE:
        return decode_item(fields, read)
    return decode_request(fields, settings.tools, read)


def _too_big(message: str) -> MessageTooBig:
    return MessageTooBig(
        f"a message may have {SHORT} characters besides its sound, an item in words {LONG}, "
        f"and this one of {len(message)} has more"
    )


def _pieces(message: str, start: int, last: int) -> Iterator[str]:
    """The base64 of a message from `start` to `last`, in pieces that are base64 each on its own.

    It is not copied as a whole, which would take 2 ms.
    """
    start, rest = start + _head(message[start : start + 256]), ""
    while start < last:
        end = min(start + _SECOND, last)
        if end < last and (escape := message.rfind("\\", end - 5, end)) >= 0:
            end = escape  # no escape is cut in two
        piece, start = message[start:end], end
        if "\\" in piece:
            try:
                piece = json.loads(f'"{piece}"', strict=False)
            except ValueError as error:
                raise InvalidAudio(f"audio must be base64, not {quoted(piece)}") from error
        rest += "".join(piece.split())
        whole = len(rest) - len(rest) % 4
        yield rest[:whole]
        rest = rest[whole:]
    if rest:
        yield rest


# A short one.


def _parse(message: str) -> dict[str, Any]:
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"an event is a JSON object, and this is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidEvent(f"an event is a JSON object, not a JSON {type(fields).__name__}")
    return fields


def _name_in(message: str) -> str | None:
    """What the client calls an event that is too long to be parsed, if that stands at one of its ends."""
    found = _NAMED.search(message, 0, _ENDS) or _NAMED.search(message, len(message) - _ENDS)
    return found[1] if found else None


def _name(fields: dict[str, Any]) -> str | None:
    """What the client calls this event, as it can be sent back."""
    name = fields.get("event_id")
    return name[:_NAME].encode(errors="replace").decode() if isinstance(name, str) else None


def _decode(fields: dict[str, Any], settings: Settings) -> ClientEvent:
    kind = fields.get("type")
    if isinstance(kind, str) and kind in _PLAIN:
        return _PLAIN[kind]
    if kind in (_CREATE, _RESPOND):
        return _decode_spoken(fields, settings, _reader(settings))
    if kind == "session.update":
        return events.SettingsChanged(merge(settings, fields.get("session")))
    if not isinstance(kind, str) or kind not in _WITH_FIELDS:
        known = ", ".join([*_WITH_FIELDS, *_PLAIN, _CREATE, _RESPOND])
        raise InvalidEvent(f"the event type {quoted(kind)} is not known here; known are {known}")
    return _made_of(validate(_WITH_FIELDS[kind], fields, kind), settings)


def _made_of(message: BaseModel, settings: Settings) -> ClientEvent:
    match message:
        case _Append(audio=audio, echo=echo):
            return events.AudioReceived(read(unbase64(audio), settings.sound_in), echo)
        case wire.ConversationItemTruncateEvent(item_id=item_id, audio_end_ms=end):
            if not 0 <= end <= _LONGEST:
                raise InvalidEvent(f"an item can be truncated to 0 to {_LONGEST} ms")
            return events.PlaybackTruncated(item_id, end / 1000)
        case wire.ConversationItemRetrieveEvent(item_id=item_id):
            return events.ItemRequested(item_id)
        case wire.ConversationItemDeleteEvent(item_id=item_id):
            return events.ItemRemoved(item_id)
        case wire.ResponseCancelEvent(response_id=response_id):
            return events.ReplyCancelled(response_id)
        case _PlaybackStarted(item_id=item_id, ago_ms=ago):
            return events.PlaybackStarted(item_id, ago / 1000)
        case _Resume(item_id=item_id):
            return events.ReplyResumed(item_id)
    raise AssertionError(message)


def merge(settings: Settings, session: object) -> Settings:
    """The settings with what `session` names changed. Fields that mean nothing here are ignored.

    Raises:
        InvalidEvent: a field is wrong; says which.
    """
    if isinstance(session, dict):
        for name, place in _MOVED.items():
            if name in session:
                raise InvalidField(
                    f"session.{name} is a field of the API's beta; it is session.{place} now",
                    f"session.{name}",
                )
    if isinstance(session, dict):
        settings = replace(settings, tools=decode_tools(session, settings.tools, "session"))
        if session.get("type") == "transcription":
            return _merge_transcription(settings, session)
        if settings.only_words:
            raise InvalidField(
                "this is a transcription session, and stays one: session.type is 'transcription'",
                "session.type",
            )
    request = validate(RealtimeSessionCreateRequest, session, "session.update", _SESSION)
    if "instructions" in request.model_fields_set:
        settings = replace(settings, instructions=_text(request.instructions or ""))
    if request.output_modalities is not None:
        settings = replace(settings, aloud="audio" in request.output_modalities)
    settings = replace(settings, **decode_output(session, "session"))
    return _merge_audio(settings, request, session)


def _merge_transcription(settings: Settings, session: dict[str, Any]) -> Settings:
    """A session that writes down what is said. Its fields are among those of any session."""
    spoken = {**session, "type": "realtime"}
    request = validate(RealtimeSessionCreateRequest, spoken, "session.update", _SESSION)
    settings = _merge_audio(settings, request, session)
    return replace(
        settings,
        only_words=True,
        wants_words=True,
        create_response=False,
        tools=NO_TOOLS,
        time_limit=max(settings.time_limit, _DICTATION),
    )


def _merge_audio(
    settings: Settings, request: RealtimeSessionCreateRequest, session: object
) -> Settings:
    audio = request.audio
    if audio and audio.input and "turn_detection" in audio.input.model_fields_set:
        settings = _merge_turn_detection(settings, audio.input.turn_detection)
    if audio and audio.input and "transcription" in audio.input.model_fields_set:
        written = audio.input.transcription
        language = (written and written.language) or ""
        settings = replace(settings, language=language, wants_words=written is not None)
    return replace(
        settings,
        sound_in=_format_of(session, "input") or settings.sound_in,
        sound_out=_format_of(session, "output") or settings.sound_out,
    )


def _text(instructions: str) -> str:
    try:
        instructions.encode()
    except UnicodeEncodeError as error:
        raise InvalidEvent(
            "session.update: instructions hold half a character (a lone surrogate)"
        ) from error
    return instructions


def _format_of(session: object, way: str) -> LineFormat | None:
    """What `session` says of the sound that goes this way; None: nothing."""
    for name in ("audio", way, "format"):
        session = session.get(name) if isinstance(session, dict) else None
    if not isinstance(session, dict):
        return None
    kind, rate = session.get("type"), session.get("rate")
    form = _FORMATS.get((kind, rate)) if isinstance(rate, int | None) else None
    if not isinstance(kind, str) or not form:
        known = "audio/pcm at 24000 or 16000 Hz, audio/pcmu or audio/pcma"
        raise InvalidField(
            f"sound goes as {known}, not as {quoted(kind)} at {quoted(rate)} Hz",
            f"session.audio.{way}.format",
        )
    return form


_FORMATS: dict[tuple[object, object], LineFormat] = {
    ("audio/pcm", None): "pcm24",
    ("audio/pcm", 24_000): "pcm24",
    ("audio/pcm", 16_000): "pcm16",
    ("audio/pcmu", None): "pcmu",
    ("audio/pcmu", 8_000): "pcmu",
    ("audio/pcma", None): "pcma",
    ("audio/pcma", 8_000): "pcma",
}
_MOVED = {
    "turn_detection": "audio.input.turn_detection",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "modalities": "output_modalities",
}
"""Fields of the API's beta that change sound or turns, and where they stand now."""


def _merge_turn_detection(settings: Settings, detection: BaseModel | None) -> Settings:
    if detection is None:
        return replace(settings, turn_detection=False)
    changes: dict[str, Any] = {"turn_detection": True, "patience": "fixed"}
    if isinstance(detection, SemanticVad):
        changes["patience"] = _PATIENCE[detection.eagerness]
    if detection.model_extra and isinstance(half := detection.model_extra.get("half_duplex"), bool):
        changes["half_duplex"] = half
    elif getattr(detection, "interrupt_response", None) is not None:
        changes["half_duplex"] = False
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
        raise InvalidEvent(f"session.update: {name} is a number, not {quoted(value)}")
    if not low <= value <= high:
        raise InvalidEvent(f"session.update: {name} goes from {low} to {high}, not {quoted(value)}")
    return value
