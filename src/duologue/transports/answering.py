"""What the endpoints over HTTP share: who is let in, how sound is sent as it is made, what is refused."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from duologue.audio import REPLY_RATE, AudioChunk, Mp3Stream, PcmStream, WavStream
from duologue.errors import (
    AudioTooLong,
    ClientTooSlow,
    DuologueError,
    InvalidApiKey,
    InvalidAudio,
    InvalidRequest,
    InvalidSetting,
    MessageTooBig,
    NotOffered,
    OriginNotAllowed,
    ReaderUnavailable,
    ShuttingDown,
    TooManyReplies,
    UnsupportedMediaType,
    quoted,
)
from duologue.models import SpeechModel
from duologue.transports.admission import Admission
from duologue.transports.question import Body, Questions

logger = logging.getLogger(__name__)

Admit = Callable[[], AbstractContextManager[SpeechModel]]
"""Holds a place for one reply of the model; a `DuologueError` refuses it."""

_PATIENCE = 60.0  # seconds to wait for a client to take a piece

_STATUS: dict[type[DuologueError], int] = {
    InvalidRequest: 400,
    InvalidSetting: 400,
    InvalidAudio: 400,
    InvalidApiKey: 401,
    OriginNotAllowed: 403,
    ClientTooSlow: 408,
    AudioTooLong: 413,
    MessageTooBig: 413,
    UnsupportedMediaType: 415,
    NotOffered: 501,
    ReaderUnavailable: 503,
    ShuttingDown: 503,
    TooManyReplies: 503,
}

_HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    503: {"Retry-After": "5"},  # about one reply
}

_PREFLIGHT = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
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


class Endpoint:
    """A route of the API: who is let in, and how what is refused is told.

    What is refused, and what fails before anything is sent, is told as
    `{"error": {"message", "type", "code", "param"}}`. What fails later cuts the connection, so that
    nobody takes the half for the whole.

    CORS headers go to the origins that may connect, and to no other.
    """

    method: str
    """Of its requests. A browser asks first (OPTIONS), and lets no other page in."""

    sound = "audio"
    """The field of a request that holds its sound, if one does."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def at(self, path: str) -> Route:
        """The route to it."""
        return Route(path, self, methods=[self.method, "OPTIONS"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""
        request = Request(scope, receive)
        shared = {"Vary": "Origin"}
        reply = None
        try:
            self._admission.check_origin(request)
            if origin := request.headers.get("origin"):
                shared["Access-Control-Allow-Origin"] = origin
            if request.method == "OPTIONS":
                allowed = {"Access-Control-Allow-Methods": self.method, **_PREFLIGHT, **shared}
                await Response(None, 204, allowed)(scope, receive, send)
                return
            self._check(request)
            reply = Reply(send, request.headers.get("accept", ""), shared)
            await self._reply(request, reply)
        except ClientDisconnect:
            pass  # in the middle of its question: there is nobody to tell
        except DuologueError as error:
            if reply and reply.begun:
                raise  # the server logs it and cuts the connection
            await self._refusal(error, shared)(scope, receive, send)

    def _check(self, request: Request) -> None:
        self._admission.check_key(request)

    async def _reply(self, request: Request, reply: "Reply") -> None:
        raise NotImplementedError

    def _refusal(self, error: DuologueError, headers: Mapping[str, str]) -> JSONResponse:
        status = _STATUS.get(type(error), 500)
        if status == 500:
            logger.error("an answer over HTTP failed", exc_info=error)
        param = self.sound if isinstance(error, InvalidAudio) else getattr(error, "param", None)
        reason = {"message": str(error), "type": error.type, "code": error.code, "param": param}
        return JSONResponse({"error": reason}, status, {**_HEADERS.get(status, {}), **headers})


class Answering(Endpoint):
    """An endpoint whose requests have a body. An answer is abandoned when its client leaves."""

    method = "POST"
    kind = "application/json"
    """The media type of its requests."""

    def __init__(self, admit: Admit, admission: Admission, questions: Questions) -> None:
        super().__init__(admission)
        self._admit = admit
        self._questions = questions

    def _check(self, request: Request) -> None:
        super()._check(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != self.kind:
            shown = quoted(kind) if kind else "without a label"
            raise UnsupportedMediaType(f"the body is labelled {self.kind}, not {shown}")

    async def _reply(self, request: Request, reply: "Reply") -> None:
        with self._admit():
            pass  # who is going to be refused need not send a long question first
        address = request.client.host if request.client else ""
        with self._questions.arriving(address) as body:
            await self._questions.receive(body, request)
            await _while_connected(request.receive, self.answer(request, body, reply))

    async def answer(self, request: Request, body: Body, reply: "Reply") -> None:
        """Answer what is in the body, once it is here."""
        raise NotImplementedError


class Reply:
    """A response that begins with its first sound.

    Attributes:
        begun: its head is sent, so nothing else can be said any more.
        begun_at: when that was, by the monotonic clock.
        said: seconds.
    """

    def __init__(self, send: Send, accept: str, headers: Mapping[str, str]) -> None:
        self.begun = False
        self.begun_at = 0.0
        self.said = 0.0
        kinds = [kind.partition(";")[0].strip() for kind in accept.lower().split(",")]
        self.set_kind(next((kind for kind in kinds if kind in _STREAMS), ""))
        self._send = send
        self._headers = headers

    def set_kind(self, media_type: str) -> None:
        """Send the sound as this; as PCM16 where it is no other that is known."""
        make, self._media_type = _STREAMS.get(media_type, _RAW)
        self._stream = make(REPLY_RATE)

    async def send(self, data: bytes, media_type: str) -> None:
        """Send something else than sound, all of it."""
        self._media_type = media_type
        await self._begin(head=False)
        await self._write(data)
        await self._patiently({"type": "http.response.body"})

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

    async def _begin(self, *, head: bool = True) -> None:
        if self.begun:
            return
        self.begun, self.begun_at = True, time.monotonic()
        headers = {
            "Content-Type": self._media_type,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            **self._headers,
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._patiently({"type": "http.response.start", "status": 200, "headers": raw})
        if head:
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
