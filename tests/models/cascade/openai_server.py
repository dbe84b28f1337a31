"""A server with OpenAI's API on this machine, which behaves as well or as badly as it is told."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from duologue.audio import REPLY_RATE, AudioChunk, WavStream

TONE = AudioChunk(
    (0.5 * np.sin(np.arange(REPLY_RATE) / 10)).astype(np.float32), REPLY_RATE
)  # a second
KEY = "sk-very-secret"


@dataclass
class Behaviour:
    """How the server behaves.

    Attributes:
        models: that it lists.
        how: well, html, refuse, limit, fail, cut, tool, endless, hang, other, no pcm.
        times: how often it does so, before it does well.
        asked: what it was asked, the bodies.
        given: how many sounds came to their end, or were left.
        keys: that it was shown.
        pieces: of its answer.
        calls: of functions, after it: the pieces of each.
        counts: it tells how many tokens an answer has, a piece each, if it is asked for that.
        refuses: fields of a request for an answer.
        voices: that it lists; empty: it lists none.
    """

    models: list[str] = field(default_factory=lambda: ["small"])
    how: str = "well"
    times: int = 1_000_000
    asked: list[object] = field(default_factory=list)
    given: int = 0
    keys: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=lambda: ["Paris ", "is the ", "capital."])
    calls: list[list[dict[str, str]]] = field(default_factory=list)
    counts: bool = False
    refuses: tuple[str, ...] = ()
    voices: list[object] = field(default_factory=list)

    def now(self) -> str:
        """How it behaves this time."""
        self.times -= 1
        return self.how if self.times >= 0 else "well"


def _refusal(how: str) -> Response | None:
    match how:
        case "html":
            return HTMLResponse("<html><body>Please sign in</body></html>")
        case "refuse":
            return JSONResponse({"error": {"message": f"Incorrect API key: {KEY}"}}, 401)
        case "limit":
            return JSONResponse({"error": {"message": "slow down"}}, 429, {"Retry-After": "20"})
        case "limit a little":
            return JSONResponse({"error": {"message": "slow down"}}, 429, {"Retry-After": "0.1"})
        case "fail":
            return JSONResponse({"error": {"message": "out of memory"}}, 500)
        case "other":
            return JSONResponse({"hello": "world"})
        case "no such":
            return JSONResponse({"detail": "Not Found"}, 404)
        case "no such voice":
            return JSONResponse({"error": {"message": "no such voice"}}, 400)
        case "echoes the key":
            return JSONResponse({"error": {"message": f"bad request with {KEY}"}}, 422)
    return None


class OpenAIServer:
    """The routes."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.app = Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/audio/transcriptions", self._transcriptions, methods=["POST"]),
                Route("/v1/audio/speech", self._speech, methods=["POST"]),
                Route("/v1/audio/voices", self._voices),
            ]
        )

    async def _models(self, request: Request) -> Response:
        behaviour = self._behaviour
        behaviour.keys.append(request.headers.get("authorization", ""))
        data = [{"id": name, "object": "model"} for name in behaviour.models]
        refusal = (
            _refusal(behaviour.how)
            if behaviour.how in ("html", "refuse", "no such", "other")
            else None
        )
        return refusal or JSONResponse({"object": "list", "data": data})

    async def _voices(self, _: Request) -> Response:
        voices = self._behaviour.voices
        return JSONResponse({"voices": voices}) if voices else JSONResponse({}, 404)

    async def _chat(self, request: Request) -> Response:
        asked = await request.json()
        self._behaviour.asked.append(asked)
        how = self._behaviour.now()
        for name in self._behaviour.refuses:
            if name in asked:
                hint = "Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                message = f"Unsupported parameter: '{name}'. {hint}"
                return JSONResponse({"error": {"message": message}}, 400)
        events = self._events(how, asked)
        return _refusal(how) or StreamingResponse(events, media_type="text/event-stream")

    async def _events(self, how: str, asked: dict[str, Any]) -> AsyncIterator[str]:
        if how == "hang":
            await asyncio.sleep(600)
        if how == "tool":
            yield _event({"tool_calls": [{"index": 0, "function": {"name": "search"}}]})
            yield _event({}, "tool_calls")
            return
        words = self._behaviour.pieces
        limit = asked.get("max_tokens", asked.get("max_completion_tokens", len(words)))
        for word in words[:limit]:
            yield _event({"content": word})
        for index, pieces in enumerate(self._behaviour.calls):
            for function in pieces:
                yield _event({"tool_calls": [{"index": index, "function": function}]})
        while how == "endless":
            yield _event({"content": "and so on "})
            await asyncio.sleep(0)
        if how == "cut":
            raise OSError("the test breaks this off")
        if how != "stop":
            yield _event({}, "length" if limit < len(words) else "stop")
            if self._behaviour.counts and asked.get("stream_options"):
                yield _usage(len(asked["messages"]), len(words[:limit]))
            yield "data: [DONE]\n\n"

    async def _transcriptions(self, request: Request) -> Response:
        async with request.form() as form:
            self._behaviour.asked.append(
                {
                    name: value if isinstance(value, str) else await value.read()
                    for name, value in form.items()
                }
            )
        return _refusal(self._behaviour.now()) or JSONResponse({"text": " What time is it? "})

    async def _speech(self, request: Request) -> Response:
        asked = await request.json()
        self._behaviour.asked.append(asked)
        how = self._behaviour.now()
        if how != "no pcm":
            return _refusal(how) or StreamingResponse(self._sound(how), media_type="audio/pcm")
        if asked["response_format"] == "pcm":
            return JSONResponse({"error": {"message": "response_format must be wav"}}, 400)
        wav = WavStream(REPLY_RATE)
        return Response(wav.head + wav.push(TONE) + wav.end(), media_type="audio/wav")

    async def _sound(self, how: str) -> AsyncIterator[bytes]:
        quiet = bytes(REPLY_RATE)  # half a second
        data = quiet + TONE.pcm16() + quiet
        try:
            while how == "endless":
                yield data
                await asyncio.sleep(0)
            for at in range(0, len(data), 4_801):  # an odd number: in the middle of a sample
                yield data[at : at + 4_801]
            if how == "cut":
                raise OSError("the test breaks this off")
        finally:
            self._behaviour.given += 1


def _event(delta: object, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "small"}
    return f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"


def _usage(read: int, written: int) -> str:
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "small"}
    return f"data: {json.dumps({**chunk, 'choices': [], 'usage': usage})}\n\n"


@contextlib.asynccontextmanager
async def serving_openai(behaviour: Behaviour) -> AsyncIterator[str]:
    """Such a server; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(OpenAIServer(behaviour).app, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    # Signals are the business of whoever runs the tests.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = server.force_exit = True
        await task
