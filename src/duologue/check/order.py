"""Whether the events of a Realtime server are what the API says, and in its order. Pure."""

from collections import defaultdict
from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter, ValidationError

_SCHEMAS: dict[str, TypeAdapter[Any]] = {
    kind: TypeAdapter(model)
    for model in get_args(get_args(RealtimeServerEvent)[0])
    for kind in get_args(model.model_fields["type"].annotation)
}
"""type of an event -> its schema"""
_MOST = 20  # violations that are kept

_PARTS = {
    "response.output_audio.delta": "audio",
    "response.output_audio_transcript.delta": "words",
    "response.output_text.delta": "words",
    "response.function_call_arguments.delta": "arguments",
    "response.mcp_call_arguments.delta": "arguments",
}
_WHOLES = {
    "response.output_audio_transcript.done": ("words", "transcript"),
    "response.output_text.done": ("words", "text"),
    "response.function_call_arguments.done": ("arguments", "arguments"),
    "response.mcp_call_arguments.done": ("arguments", "arguments"),
}


class Order:
    """Reads the events of one session, one after the other.

    Attributes:
        violations: of the schema and of the order, in sentences; the first ones.
    """

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._ids: set[str] = set()
        self._begun = False
        self._open: set[str] = set()  # responses that are created and not done
        self._closed: set[str] = set()
        self._outputs: set[str] = set()  # items of responses that were added
        self._added: set[str] = set()  # items of the conversation
        self._texts: dict[tuple[str, str], str] = defaultdict(str)
        self._words: dict[str, int] = defaultdict(int)  # how often the words of an item were final

    def read(self, event: dict[str, Any]) -> None:
        """Look at the next event."""
        kind = str(event.get("type"))
        if kind.startswith("duologue."):
            return  # of ours, for who asks for them
        self._check_schema(event, kind)
        self._check_id(event, kind)
        if not self._begun and kind not in ("session.created", "error"):
            self._note(f"{kind} comes before session.created")
        self._begun = True
        if kind.startswith("response."):
            self._read_response(event, kind)
        elif kind.startswith(("conversation.item.", "input_audio_buffer.")):
            self._read_item(event, kind)

    def _check_schema(self, event: dict[str, Any], kind: str) -> None:
        # The package's types of a session know fewer formats and no id.
        if kind in ("session.created", "session.updated"):
            if not isinstance(event.get("session"), dict):
                self._note(f"{kind} has no session")
            return
        schema = _SCHEMAS.get(kind)
        if not schema:
            self._note(f"{kind[:100]}: the API has no such event")
            return
        try:
            schema.validate_python(event, strict=True)
        except ValidationError as error:
            detail = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(str(part) for part in detail["loc"])
            self._note(f"{kind}: {path}: {detail['msg']}"[:200])

    def _check_id(self, event: dict[str, Any], kind: str) -> None:
        name = event.get("event_id")
        if not isinstance(name, str) or not name:
            self._note(f"{kind} has no event_id")
        elif name in self._ids:
            self._note(f"{kind} has the event_id of another event")
        else:
            self._ids.add(name)

    def _read_response(self, event: dict[str, Any], kind: str) -> None:
        about = event.get("response")
        name = event.get("response_id") or (about.get("id") if isinstance(about, dict) else None)
        if not isinstance(name, str):
            return
        if kind == "response.created":
            if name in self._open | self._closed:
                self._note(f"response.created comes twice for {name}")
            self._open.add(name)
            return
        if name not in self._open:
            when = "after response.done" if name in self._closed else "before response.created"
            self._note(f"{kind} comes {when}")
        if kind == "response.done":
            self._open.discard(name)
            self._closed.add(name)
        else:
            self._read_output(event, kind)

    def _read_output(self, event: dict[str, Any], kind: str) -> None:
        item = event.get("item")
        name = event.get("item_id") or (item.get("id") if isinstance(item, dict) else None)
        if not isinstance(name, str):
            return
        if kind == "response.output_item.added":
            self._outputs.add(name)
        elif name not in self._outputs:
            self._note(f"{kind} comes before response.output_item.added")
        if kind in _PARTS:
            self._texts[name, _PARTS[kind]] += str(event.get("delta"))
        elif kind in _WHOLES:
            part, field = _WHOLES[kind]
            if self._texts[name, part].strip() != str(event.get(field)).strip():
                self._note(f"{kind}: the deltas do not join to its {field}")

    def _read_item(self, event: dict[str, Any], kind: str) -> None:
        item = event.get("item")
        name = event.get("item_id") or (item.get("id") if isinstance(item, dict) else None)
        if not isinstance(name, str):
            return
        if kind in ("conversation.item.added", "conversation.item.created"):
            self._added.add(name)
        elif "input_audio_transcription" in kind:
            if name not in self._added and not kind.endswith("delta"):
                self._note(f"{kind} comes before conversation.item.added")
            if kind.endswith(("completed", "failed")):
                self._words[name] += 1
                if self._words[name] > 1:
                    self._note(f"the words of {name} are final twice")
        elif kind == "conversation.item.done" and name not in self._added:
            self._note("conversation.item.done comes before conversation.item.added")

    def _note(self, what: str) -> None:
        if len(self.violations) < _MOST and what not in self.violations:
            self.violations.append(what)
