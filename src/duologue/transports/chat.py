"""`POST /chat`: one utterance in, its reply streamed out, as the original Mini-Omni server does."""

import asyncio
import binascii
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from duologue.audio import (
    INPUT_RATE,
    REPLY_RATE,
    AudioChunk,
    Mp3Stream,
    PcmStream,
    WavStream,
    read_audio,
)
from duologue.errors import (
    AudioTooLong,
    ClientTooSlow,
    DuologueError,
    InvalidApiKey,
    InvalidAudio,
    InvalidRequest,
    MessageTooBig,
    ModelFailed,
    OriginNotAllowed,
    ShuttingDown,
    TooManyReplies,
    UnsupportedMediaType,
)
from duologue.model import Prompt, ReplyChunk, SpeechModel
from duologue.transports.admission import Admission

logger = logging.getLogger(__name__)

Admit = Callable[[], AbstractContextManager[SpeechModel]]
"""Holds a place for one reply of the model; a `DuologueError` refuses it."""

_FRAME = 2048  # samples: a step of the original's codec, which its two numbers count in

_MOST = 2048  # steps that the original's model can make

_PIECE = 12  # frames, 1 s: 2 ms of MP3, so the event loop is not held for longer

_PATIENCE = 60.0  # seconds to wait for a client: for its question, and for it to take a piece

_BASE64 = 256 * 1024  # characters decoded at once, below 1 ms; the lock of Python is held for that

_STATUS: dict[type[DuologueError], int] = {
    InvalidRequest: 400,
    InvalidAudio: 400,
    InvalidApiKey: 401,
    OriginNotAllowed: 403,
    ClientTooSlow: 408,
    AudioTooLong: 413,
    MessageTooBig: 413,
    UnsupportedMediaType: 415,
    ShuttingDown: 503,
    TooManyReplies: 503,
}

_HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    503: {"Retry-After": "5"},  # about one reply
}

_STREAMS: dict[str, tuple[type[PcmStream], str]] = {
    "audio/wav": (WavStream, "audio/wav"),
    "audio/x-wav": (WavStream, "audio/wav"),
    "audio/mpeg": (Mp3Stream, "audio/mpeg"),
    "audio/mp3": (Mp3Stream, "audio/mpeg"),
}

# The original calls it audio/wav, which makes players look for a header. Its clients read no label.
# Not audio/L16: that is big-endian (RFC 3551, 4.5.11). The Realtime API means by this name just this.
_RAW = (PcmStream, f"audio/pcm;rate={REPLY_RATE};channels=1")


@dataclass(frozen=True, slots=True)
class _Question:
    """Attributes: utterance, at `INPUT_RATE`; the most samples of a reply, and of one write."""

    utterance: AudioChunk
    most: int
    piece: int


def routes(admit: Admit, admission: Admission, time_limit: float) -> list[Route]:
    """The route `/chat`, for any model. An utterance may last `time_limit` seconds.

    The body is JSON: `audio`, base64 of a sound file; `max_tokens` (2048), after how many frames of
    85.3 ms (2,048 samples) the reply is cut, where the original also counts the prompt;
    `stream_stride` (4), how many frames are written at once at most. Nothing is held back to fill a
    write: the first sound goes out as soon as it is made. Other fields are ignored.

    The answer is the reply's sound, streamed while it is made: PCM16, little-endian, mono, 24 kHz,
    without a header. A client that says `Accept: audio/wav` or `audio/mpeg` gets such a file.

    What is refused, and a model that fails before its first sound, is told as
    `{"error": {"message", "type", "code", "param"}}`. When it fails later the connection is cut, so
    that nobody takes the half for the whole. A reply is abandoned when its client leaves.

    Nothing is kept: a chat has no turns before it, and none of it is in the history.

    No CORS header is ever sent, and a body that is not labelled as JSON is refused: with that, a
    browser lets no page of another origin in.
    """
    return [Route("/chat", _Chat(admit, admission, time_limit), methods=["POST"])]


class _Chat:
    def __init__(self, admit: Admit, admission: Admission, time_limit: float) -> None:
        self._admit = admit
        self._admission = admission
        self._time_limit = time_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        reply = _Reply(send, request.headers.get("accept", ""))
        try:
            self._check(request)
            with self._admit() as model:
                body = await _read(request, self._admission.message_bytes)
                await _while_connected(receive, self._answer(model, body, reply))
        except ClientDisconnect:
            pass  # in the middle of its question: there is nobody to tell
        except DuologueError as error:
            if reply.begun:
                raise  # the server logs it and cuts the connection
            await _refusal(error)(scope, receive, send)

    def _check(self, request: Request) -> None:
        self._admission.check_key(request)
        self._admission.check_origin(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UnsupportedMediaType(
                f"the body is JSON, labelled application/json, not {kind or 'without a label'}"
            )

    async def _answer(self, model: SpeechModel, body: bytearray, reply: "_Reply") -> None:
        start = time.monotonic()
        question = await asyncio.to_thread(_parse, body, self._time_limit)
        async with aclosing(_sound(model, question)) as sound:
            async for chunk in sound:
                await reply.write(chunk)
                await asyncio.sleep(0)  # a model that never waits must not hold the others up
        await reply.end()
        logger.info(
            "a chat: %.2f s heard, first sound after %.0f ms, %.2f s said",
            question.utterance.duration,
            1000 * (reply.begun_at - start),
            reply.said,
        )


class _Reply:
    """A response that begins with its first sound.

    Attributes:
        begun: its head is sent, so nothing else can be said any more.
        begun_at: when that was, by the monotonic clock.
        said: seconds.
    """

    def __init__(self, send: Send, accept: str) -> None:
        self.begun = False
        self.begun_at = 0.0
        self.said = 0.0
        kinds = [kind.partition(";")[0].strip() for kind in accept.lower().split(",")]
        make, self._media_type = next((_STREAMS[kind] for kind in kinds if kind in _STREAMS), _RAW)
        self._stream = make(REPLY_RATE)
        self._send = send

    async def write(self, chunk: AudioChunk) -> None:
        """Send some sound.

        Raises:
            ClientTooSlow: it is not taken.
        """
        await self._begin()
        self.said += chunk.duration
        await self._write(self._stream.push(chunk))

    async def end(self) -> None:
        """Send what is left, and that this was all."""
        await self._begin()
        await self._write(self._stream.end())
        await self._patiently({"type": "http.response.body"})

    async def _begin(self) -> None:
        if self.begun:
            return
        self.begun, self.begun_at = True, time.monotonic()
        headers = {
            "Content-Type": self._media_type,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._patiently({"type": "http.response.start", "status": 200, "headers": raw})
        await self._write(self._stream.head)

    async def _write(self, data: bytes) -> None:
        if data:
            await self._patiently({"type": "http.response.body", "body": data, "more_body": True})

    async def _patiently(self, message: Message) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._send(message)
        except TimeoutError as error:
            raise ClientTooSlow(f"the client took nothing for {_PATIENCE:g} s") from error


async def _read(request: Request, limit: int) -> bytearray:
    """The body, as far as it is not too long: what is announced as such is not even awaited."""
    too_big = MessageTooBig(f"a request may have {limit / 2**20:g} MiB; send a shorter sound")
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_big
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    raise too_big
    except TimeoutError as error:
        raise ClientTooSlow(f"the request was not complete after {_PATIENCE:g} s") from error
    return body


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or as much of it as can be done before the client hangs up."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_hang_up(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait((working, leaving))
    if not working.cancelled():
        working.result()  # or what it raised


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _sound(model: SpeechModel, question: _Question) -> AsyncGenerator[AudioChunk, None]:
    """The sound of a reply, cut to size."""
    left = question.most
    async with aclosing(_reply(model, question.utterance)) as chunks:
        async for chunk in chunks:
            if not chunk.audio:
                continue
            samples = chunk.audio.samples[:left]
            left -= len(samples)
            for start in range(0, len(samples), question.piece):
                yield AudioChunk(samples[start : start + question.piece], REPLY_RATE)
            if not left:
                return


async def _reply(model: SpeechModel, utterance: AudioChunk) -> AsyncGenerator[ReplyChunk, None]:
    async with aclosing(model.reply(Prompt(utterance))) as chunks:
        try:
            async for chunk in chunks:
                yield chunk
        except DuologueError:
            raise
        except Exception as error:
            raise ModelFailed(f"the model failed: {error or type(error).__name__}") from error


def _parse(body: bytearray, time_limit: float) -> _Question:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(f"the body is a JSON object, not a JSON {type(fields).__name__}")
    most = _FRAME * _count(fields, "max_tokens", _MOST)
    piece = _FRAME * min(_count(fields, "stream_stride", 4), _PIECE)
    audio = fields.get("audio")
    if not isinstance(audio, str):
        raise InvalidRequest(f"audio is the base64 of a sound file, not {_show(audio)}", "audio")
    utterance = read_audio(_decode(audio), time_limit)
    return _Question(utterance.at(INPUT_RATE), most, piece)


def _count(fields: dict[str, Any], name: str, default: int) -> int:
    value = fields.get(name, default)
    if type(value) is not int or not 1 <= value <= _MOST:  # to Python, True is an integer
        raise InvalidRequest(
            f"{name} is a whole number from 1 to {_MOST}, not {_show(value)}", name
        )
    return value


def _show(value: object) -> str:
    """As it was sent, unless that may be long."""
    kinds: dict[type, str] = {str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value)) or json.dumps(value)[:40]


def _decode(text: str) -> bytes:
    if any(space in text for space in "\n\r\t "):  # as `base64` and `encodebytes` wrap their lines
        text = "".join(text.split())
    try:
        if text.find("=", 0, -2) >= 0:
            raise ValueError("padding in the middle")  # noqa: TRY301
        pieces = (text[start : start + _BASE64] for start in range(0, len(text), _BASE64))
        return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)
    except ValueError as error:
        raise InvalidRequest(f"audio is not valid base64: {error}", "audio") from error


def _refusal(error: DuologueError) -> JSONResponse:
    status = _STATUS.get(type(error), 500)
    if status == 500:
        logger.error("a chat failed", exc_info=error)
    param = "audio" if isinstance(error, InvalidAudio) else getattr(error, "param", None)
    reason = {"message": str(error), "type": error.type, "code": error.code, "param": param}
    return JSONResponse({"error": reason}, status, _HEADERS.get(status))
