"""Events to messages of the OpenAI Realtime API (GA). Pure.

Everything is built with the `openai` package's own types. An id on the wire is made of the turn's id,
so that nothing has to be looked up: `item_u…` the user's item, `item_a…` the assistant's, `resp_…` the
response.

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
from pydantic import BaseModel

from duologue import events
from duologue.audio import REPLY_RATE
from duologue.events import Settings
from duologue.transports.realtime.decode import WIRE_RATE

_Model = TypeVar("_Model", bound=BaseModel)

_EAGERNESS = {"patient": "low", "normal": "medium", "quick": "high"}


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
        if isinstance(event, _Extension):
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
            case events.TurnCommitted():
                yield from _turn_committed(event)
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
                wire.ResponseAudioTranscriptDeltaEvent,
                **_content(turn_id),
                delta=_whole(event.text),
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
            text = _whole(event.text)
            item = _assistant_item(turn_id, status, text)
            items.append(item)
            part = {"type": "audio", "transcript": text}
            content = _content(turn_id)
            yield _event(wire.ResponseAudioDoneEvent, **content)
            yield _event(wire.ResponseAudioTranscriptDoneEvent, **content, transcript=text)
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


_Extension = events.ReplyDucked | events.ReplyRestored | events.LimitApproached | events.Ponged


def _extension(event: _Extension) -> str:
    if isinstance(event, events.Ponged):
        return json.dumps({"type": "duologue.pong"})
    if isinstance(event, events.LimitApproached):
        item = f"item_u{event.turn_id}" if event.turn_id else None
        left = _milliseconds(event.left)
        return json.dumps({"type": "duologue.limit.near", "item_id": item, "remaining_ms": left})
    kind = "ducked" if isinstance(event, events.ReplyDucked) else "restored"
    return json.dumps({"type": f"duologue.reply.{kind}", "item_id": f"item_a{event.turn_id}"})


def _turn_committed(event: events.TurnCommitted) -> Iterator[BaseModel]:
    item_id = f"item_u{event.turn_id}"
    newest = "a" if event.answered else "u"  # of the items of the turn before
    previous = f"item_{newest}{event.previous_id}" if event.previous_id else None
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


def _overheard(event: events.UserOverheard) -> BaseModel:
    return _event(
        wire.ConversationItemInputAudioTranscriptionDeltaEvent,
        item_id=f"item_u{event.turn_id}",
        content_index=0,
        delta=_whole(event.text),
    )


def _transcribed(event: events.UserTranscribed) -> BaseModel:
    return _event(
        wire.ConversationItemInputAudioTranscriptionCompletedEvent,
        item_id=f"item_u{event.turn_id}",
        content_index=0,
        transcript=_whole(event.text),
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
            "message": _whole(str(error)),
            "event_id": event.event_id,
        },
    )


_SIMPLE: dict[type, Callable[[Any], BaseModel]] = {
    events.TurnStarted: _speech_started,
    events.TurnReopened: _speech_started,
    events.SpeechStopped: _speech_stopped,
    events.AudioCleared: lambda _: _event(wire.InputAudioBufferClearedEvent),
    events.UserOverheard: _overheard,
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
        message = _whole(str(event.error))
        error = {"type": event.error.type, "code": event.error.code, "message": message}
        return "failed", {"type": "failed", "error": error}
    return "cancelled", {"type": "cancelled", "reason": event.reason}


def _whole(text: str) -> str:
    """The text without halves of characters (lone surrogates), which cannot be sent."""
    return text.encode(errors="replace").decode()


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
