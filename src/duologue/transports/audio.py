"""The model's ears and voice alone, as OpenAI's API has them: for Open WebUI, Home Assistant, scripts."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, TypeVar, cast

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.routing import Route

from duologue.audio import INPUT_RATE
from duologue.errors import DuologueError, InvalidRequest, ModelFailed, quoted
from duologue.models import Speaker, Transcriber
from duologue.transports.admission import Admission
from duologue.transports.answering import Admit, Answering, Endpoint, Reply
from duologue.transports.question import Body, Questions

_T = TypeVar("_T")

_LONGEST = 300.0  # seconds of sound
_MOST = 10_000  # characters to read out; OpenAI takes 4,096
_FIELD = 64 * 1024  # bytes of a field of a form that is no file
_SLICE = 64 * 1024  # bytes of a form that are read at once

_SOUNDS = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm": ""}


def routes(
    admit: Admit,
    admission: Admission,
    questions: Questions,
    model: str,
    voices: Callable[[], Sequence[str]] = tuple,
) -> list[Route]:
    """`/v1/audio/transcriptions`, `speech` and `voices`, and `/v1/models`, admitted as `/chat` is.

    A transcription takes a form with `file` (WAV, FLAC, OGG or MP3; more with the extra `formats`; up to
    300 s), `language` (ISO 639-1) and `response_format` (json, text, verbose_json). Speech takes JSON with
    `input` (up to 10,000 characters), `voice` (OpenAI's names stand for the usual one), `speed` (0.5 to 2)
    and `response_format` (mp3, wav, pcm at 24 kHz), and is streamed as it is made. `model` may be anything:
    there is one. Of voices the names are listed, the usual one first, as Open WebUI asks for them.
    """
    entry = {"id": model, "object": "model", "created": 0, "owned_by": "duologue"}
    models = {"object": "list", "data": [entry]}
    return [
        _List(admission, lambda: models).at("/v1/models"),
        _List(admission, lambda: {"voices": [{"id": name, "name": name} for name in voices()]}).at(
            "/v1/audio/voices"
        ),
        _Transcriptions(admit, admission, questions).at("/v1/audio/transcriptions"),
        _Speech(admit, admission, questions).at("/v1/audio/speech"),
    ]


class _List(Endpoint):
    """`there`: what there is."""

    method = "GET"

    def __init__(self, admission: Admission, there: Callable[[], object]) -> None:
        super().__init__(admission)
        self._there = there

    async def _reply(self, request: Request, reply: Reply) -> None:  # noqa: ARG002
        await reply.send(json.dumps(self._there()).encode(), "application/json")


class _Transcriptions(Answering):
    kind = "multipart/form-data"
    sound = "file"
    _kinds: ClassVar[Mapping[str, str]] = {
        "json": "application/json",
        "verbose_json": "application/json",
        "text": "text/plain; charset=utf-8",
    }

    async def answer(self, request: Request, body: Body, reply: Reply) -> None:
        form = await _form(request, body)
        file, language = form.get("file"), form.get("language", "")
        if not isinstance(file, bytes):
            raise InvalidRequest("file is missing: the sound file to transcribe", "file")
        shape = _one_of(form, "response_format", "json", self._kinds)
        utterance = await self._questions.sound(body, file, _LONGEST, INPUT_RATE)
        with self._admit() as model:
            hearing = cast("Transcriber", model).transcribe(utterance, str(language).lower())
            words, spoken = await _guarded(hearing)
        answer: dict[str, Any] = {"text": words}
        if shape == "verbose_json":
            segment = {"id": 0, "start": 0.0, "end": utterance.duration, "text": words}
            answer = {
                "task": "transcribe",
                "language": spoken,
                "duration": utterance.duration,
                "segments": [segment] if words else [],
                **answer,
            }
        text = words if shape == "text" else json.dumps(answer)
        await reply.send(text.encode(), self._kinds[shape])


class _Speech(Answering):
    async def answer(self, request: Request, body: Body, reply: Reply) -> None:  # noqa: ARG002
        fields = _fields(body)
        text = fields.get("input")
        if not isinstance(text, str) or not text.strip() or len(text) > _MOST:
            raise InvalidRequest(
                f"input is a text of 1 to {_MOST} characters, not {_shown(text)}", "input"
            )
        speed = fields.get("speed", 1.0)
        if type(speed) not in (int, float) or not 0.5 <= speed <= 2:
            raise InvalidRequest(f"speed is a number from 0.5 to 2, not {_shown(speed)}", "speed")
        voice = fields.get("voice", "")
        if not isinstance(voice, str):
            raise InvalidRequest(f"voice is a name, not {_shown(voice)}", "voice")
        reply.set_kind(_SOUNDS[_one_of(fields, "response_format", "mp3", _SOUNDS)])
        with self._admit() as model:
            speech = cast("Speaker", model).speak(text, voice, float(speed))
            async with aclosing(speech):
                while sound := await _guarded(anext(speech, None)):
                    await reply.write(sound)
                    await asyncio.sleep(0)  # a model that never waits must not hold the others up
        if not reply.begun:
            raise InvalidRequest("input holds nothing that can be spoken", "input")
        await reply.end()


async def _guarded(answer: Awaitable[_T]) -> _T:
    try:
        return await answer
    except DuologueError:
        raise
    except Exception as error:
        raise ModelFailed(f"the model failed: {error or type(error).__name__}") from error


async def _form(request: Request, body: Body) -> dict[str, str | bytes]:
    """The fields of a form, files as bytes."""

    async def stream() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body.data), _SLICE):
            yield bytes(body.data[start : start + _SLICE])
            await asyncio.sleep(0)  # so that a long form does not hold the others up

    parser = MultiPartParser(
        request.headers, stream(), max_files=1, max_fields=50, max_part_size=_FIELD
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise InvalidRequest(f"the form cannot be read: {error}") from error
    fields: dict[str, str | bytes] = {}
    try:
        for name, value in form.multi_items():
            fields[name] = await value.read() if isinstance(value, UploadFile) else value
    finally:
        await form.close()
    return fields


def _fields(body: Body) -> dict[str, Any]:
    try:
        fields = json.loads(body.data)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(f"the body is a JSON object, not a JSON {type(fields).__name__}")
    return fields


def _one_of(fields: Mapping[str, Any], name: str, default: str, known: Mapping[str, str]) -> str:
    value = fields.get(name) or default
    if not isinstance(value, str) or value not in known:
        raise InvalidRequest(f"{name} is one of {', '.join(known)}, not {_shown(value)}", name)
    return value


def _shown(value: object) -> str:
    return (
        f"{len(value)} characters" if isinstance(value, str) and len(value) > 100 else quoted(value)
    )
