"""Any server that speaks the OpenAI Realtime API as a model: OpenAI, LocalAI, vLLM-Omni, another Duologue.

Each reply has a WebSocket of its own, so that closing it ends the reply there. While the user still speaks,
the next one is opened already, and is sent the conversation and what was said so far.
"""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import numpy as np
import soxr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, Samples
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.errors import InvalidSetting, ModelFailed, ModelUnavailable, quoted
from duologue.models import SpeechModel
from duologue.models.realtime.reading import (
    Reading,
    able,
    end_of,
    fields,
    session_of,
    text,
    told,
    trial,
)

_log = logging.getLogger(__name__)

_CONNECTS = 10.0  # seconds
_SILENT = 30.0  # seconds in which it may tell nothing
_WORDS = 2.0  # seconds after a reply in which what the user said may be told yet
_PIECE = INPUT_RATE  # samples of one message
_SHORTEST = INPUT_RATE // 5  # samples: OpenAI's server takes no utterance of less than 0.1 s
_AHEAD = 64  # lines that are open for replies to come
_KEPT = 30.0  # seconds for which such a line waits
_LARGEST = 16 * 2**20  # bytes of a message of its
_SHOWN = 200  # characters of what a server says
_TELLS = 2.0  # seconds in which it tells a session that was changed
_TRANSCRIBES = "gpt-4o-mini-transcribe"  # OpenAI writes down nothing unless it is told with what


def load(url: str = "", model: str = "", key: str = "", voice: str = "") -> SpeechModel:
    """The model for `--model realtime`.

    Args:
        url: of the server, as wss://api.openai.com/v1/realtime.
        model: what it calls the model; empty: it has only one.
        key: that it wants; empty: none.
        voice: in which it speaks; empty: the usual one.

    Raises:
        InvalidSetting: that is no address.
    """
    return Realtime(url, model, key, voice)


class _Lost(ModelFailed):
    """The line was lost before anything was heard: another try may do better."""


@dataclass(slots=True, eq=False)
class _Line:
    """A WebSocket for one reply.

    Attributes:
        socket: that is connected.
        about: what the server was told of the conversation and of how to answer.
        sent: what it was sent of the utterance, at `INPUT_RATE`.
        stream: of the utterance, at the server's rate.
    """

    socket: ClientConnection
    about: object = None
    sent: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    stream: soxr.ResampleStream = field(
        default_factory=lambda: soxr.ResampleStream(INPUT_RATE, REPLY_RATE, 1, "float32")
    )

    async def tell(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def hear(self) -> dict[str, Any]:
        """The next event that is one."""
        async with asyncio.timeout(_SILENT):
            while True:
                message = await self.socket.recv()
                with contextlib.suppress(ValueError, RecursionError):
                    event = json.loads(message)
                    if isinstance(event, dict):
                        return event


class Realtime:
    """Sends what was said, gives back what comes."""

    capabilities: Capabilities

    def __init__(self, url: str, model: str = "", key: str = "", voice: str = "") -> None:
        """Nothing is asked yet.

        Raises:
            InvalidSetting: that is no address.
        """
        self._url, self._host, self._local = _address(url, model)
        self._model, self._key, self._voice = model, key, voice
        self._lines: dict[str, _Line] = {}  # by listener, for replies to come
        self._closing: set[asyncio.Task[None]] = set()
        self.trouble = ""
        self.capabilities = Capabilities(
            history=True,
            instructions=True,
            transcribes=True,
            note=f"{model or 'The only model'} at {self._host} hears and speaks, by its Realtime API.",
            reads=True,
            overhears="speech",
            calls=True,
        )

    async def start(self) -> None:
        """See whether the server is there and begins a session, and what of a session it takes up.

        Raises:
            ModelUnavailable: it is not, or does not; says what to do.
        """
        try:
            line = await self._connect()
        except ModelFailed as error:
            raise ModelUnavailable(str(error)) from error
        try:
            async with asyncio.timeout(_TELLS):
                await self._try_out(line)
        except (OSError, WebSocketException, TimeoutError):
            _log.warning(
                "the Realtime server at %s does not tell how it speaks; it is asked for no voice, no speed "
                "and no limit of tokens",
                self._host,
            )
        finally:
            await self._close(line)

    async def _try_out(self, line: _Line) -> None:
        """Note what the server takes up of a session that asks for all that it may not be able to do."""
        await line.tell("session.update", session=trial(self._voice))
        while (event := await line.hear()).get("type") not in ("session.updated", "error"):
            pass
        self.capabilities = able(
            self.capabilities, fields(event, "session"), self._host, self._voice
        )

    async def overhear(self, prompt: Prompt) -> str:
        """Send what was said so far; nothing is known of its words."""
        line = self._lines.pop(prompt.listener, None)
        try:
            if not line or not _continues(line, prompt):
                self._drop(line)
                line = None
                line = await self._connect()
                await self._tell_about(line, prompt)
            await self._send(line, prompt.utterance.samples)
        except BaseException as error:
            self._drop(line)
            if isinstance(error, OSError | WebSocketException | TimeoutError):
                raise self._lost(error) from error
            raise
        self._keep(prompt.listener, line)
        return ""

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        """What the server says. Where the line is lost before the first sound, it is asked once again.

        Raises:
            ModelFailed: the server failed or was lost; says what to do.
        """
        for last in (False, True):
            begun = False
            try:
                async with contextlib.aclosing(self._reply(prompt)) as chunks:
                    async for chunk in chunks:
                        begun = begun or bool(chunk.audio or chunk.text or chunk.call)
                        yield chunk
            except _Lost as error:
                if begun or last:
                    raise
                _log.warning("%s; it is asked again", error)
            else:
                self.trouble = ""
                return

    async def transcribe(
        self,
        utterance: AudioChunk,
        language: str = "",
        listener: str = "",  # noqa: ARG002  (the reply takes that line)
        likely: str = "",  # noqa: ARG002
    ) -> tuple[str, str]:
        """What the server writes down of an utterance.

        Raises:
            ModelFailed: it failed, was lost, or writes nothing down; says what to do.
        """
        prompt, line = Prompt(utterance), None
        try:
            line = await self._connect()
            await self._tell_about(line, prompt)
            await self._send(line, utterance.samples, last=True)
            await line.tell("input_audio_buffer.commit")
            return await self._written_down(line, Reading(prompt)), language
        except (OSError, WebSocketException, TimeoutError) as error:
            raise self._lost(error) from error
        finally:
            self._drop(line)

    async def _written_down(self, line: _Line, reading: Reading) -> str:
        while not reading.heard:
            event = await line.hear()
            if event.get("type") == "error":
                raise self._failed(fields(event, "error"))
            chunk = reading.read(event)
            if chunk and chunk.user_text is not None:
                return chunk.user_text
        raise ModelFailed(f"the Realtime server at {self._host} writes nothing down")

    async def close(self) -> None:
        """Let go of the lines."""
        for listener in list(self._lines):
            self._drop(self._lines.pop(listener))
        if self._closing:
            await asyncio.wait(self._closing)

    async def _reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        line = self._lines.pop(prompt.listener, None)
        if line and not _continues(line, prompt):
            self._drop(line)
            line = None
        try:
            if not line:
                line = await self._connect()
                await self._tell_about(line, prompt)
            if prompt.spoken:
                await self._send(line, prompt.utterance.samples, last=True)
                await line.tell("input_audio_buffer.commit")
            await line.tell("response.create")
            async with contextlib.aclosing(self._listen(line, prompt)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (OSError, WebSocketException, TimeoutError) as error:
            raise self._lost(error) from error
        finally:
            self._drop(line)

    async def _listen(self, line: _Line, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        """A reply as it comes, to its end."""
        reading = Reading(prompt)
        while (event := await line.hear()).get("type") != "response.done":
            if event.get("type") == "error":
                raise self._failed(fields(event, "error"))
            if chunk := reading.read(event):
                yield chunk
        response = fields(event, "response")
        for chunk in (reading.end(), end_of(response)):
            if chunk:
                yield chunk
        if response.get("status") == "failed":
            raise self._failed(fields(fields(response, "status_details"), "error"))
        if not reading.heard and (chunk := await self._late_words(line, reading)):
            yield chunk

    async def _late_words(self, line: _Line, reading: Reading) -> ReplyChunk | None:
        """What the user said, where it is told after the reply."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WORDS):
                while not reading.heard:
                    if chunk := reading.read(await line.hear()):
                        return chunk
        return None

    async def _connect(self) -> _Line:
        """A line on which a session has begun.

        Raises:
            ModelFailed: none can be had.
        """
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        line = None
        try:
            async with asyncio.timeout(_CONNECTS):
                socket = await connect(
                    self._url,
                    additional_headers=headers,
                    # A proxy of the environment is not for this machine itself.
                    proxy=None if self._local else True,
                    max_size=_LARGEST,
                    compression=None,
                    close_timeout=1,
                )
                line = _Line(socket)
                await self._begin(line)
        except InvalidStatus as error:
            raise self._refused(error) from error
        except (OSError, WebSocketException, TimeoutError) as error:
            self._drop(line)
            raise self._lost(error) from error
        except BaseException:
            self._drop(line)
            raise
        return line

    async def _begin(self, line: _Line) -> None:
        while (event := await line.hear()).get("type") != "session.created":
            if event.get("type") == "error":
                raise self._failed(fields(event, "error"))

    async def _tell_about(self, line: _Line, prompt: Prompt) -> None:
        """How to answer, and what was said before."""
        session = session_of(prompt, self._voice, _TRANSCRIBES)
        await line.tell("session.update", session=session)
        for item in prompt.items:
            for event in told(item):
                await line.tell("conversation.item.create", item=event)
        line.about = _about(prompt)

    async def _send(self, line: _Line, samples: Samples, *, last: bool = False) -> None:
        """What was said, from where the line has it."""
        new, line.sent = samples[len(line.sent) :], samples
        if last and len(samples) < _SHORTEST:
            new = np.concatenate([new, np.zeros(_SHORTEST - len(samples), np.float32)])
        for start in range(0, len(new) + last, _PIECE):
            end = start + _PIECE
            sound = line.stream.resample_chunk(new[start:end], last=last and end > len(new))
            if len(sound):
                audio = base64.b64encode(AudioChunk(sound, REPLY_RATE).pcm16()).decode()
                await line.tell("input_audio_buffer.append", audio=audio)

    def _keep(self, listener: str, line: _Line) -> None:
        """Keep a line for the reply to come, but not for ever."""
        self._drop(self._lines.pop(listener, None))
        while len(self._lines) >= _AHEAD:
            self._drop(self._lines.pop(next(iter(self._lines))))
        self._lines[listener] = line
        asyncio.get_running_loop().call_later(_KEPT, self._forget, listener, line, len(line.sent))

    def _forget(self, listener: str, line: _Line, sent: int) -> None:
        if self._lines.get(listener) is line and len(line.sent) == sent:
            self._drop(self._lines.pop(listener))

    def _drop(self, line: _Line | None) -> None:
        """Hang up, which ends the reply there. Nobody waits for it."""
        if line:
            task = asyncio.create_task(self._close(line))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close(self, line: _Line) -> None:
        with contextlib.suppress(OSError, WebSocketException):
            await line.socket.close()

    def _lost(self, error: BaseException) -> ModelFailed:
        if isinstance(error, TimeoutError):
            self.trouble = (
                f"the Realtime server at {self._host} told nothing in time; see whether it is busy"
            )
            return ModelFailed(self.trouble)
        if isinstance(error, InvalidHandshake):
            what = "answers, but not as a WebSocket; see whether the address ends in /v1/realtime"
        elif isinstance(error, OSError):
            what = "is not reached; see whether it runs, and whether the address is right"
        else:
            what = "hung up; see what it logs"
        self.trouble = f"the Realtime server at {self._host} {what}"
        return _Lost(self.trouble)

    def _refused(self, error: InvalidStatus) -> ModelFailed:
        status = error.response.status_code
        said = self._shown((error.response.body or b"").decode(errors="replace"))
        if status in (401, 403):
            problem = "refuses the key" if self._key else "wants a key"
            what = f"{problem}; set DUOLOGUE_REALTIME_KEY to a right one"
        elif status == 404:
            what = "has no such route; see whether the address ends in /v1/realtime"
        else:
            what = f"does not let us in ({status}): {said}"
        self.trouble = f"the Realtime server at {self._host} {what}"
        return ModelFailed(self.trouble)

    def _failed(self, error: dict[str, Any]) -> ModelFailed:
        said = self._shown(text(error, "message")) or "it does not say why"
        self.trouble = f"the Realtime server at {self._host} failed: {said}"
        return ModelFailed(self.trouble)

    def _shown(self, said: str) -> str:
        """What a server says, in one line, without the key, should it repeat that."""
        line = " ".join(said.split())
        return (line.replace(self._key, "…") if self._key else line)[:_SHOWN]


def _address(url: str, model: str) -> tuple[str, str, bool]:
    """The WebSocket's address, the server as people read it, and whether it is this machine."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
        good = parts.scheme in ("ws", "wss", "http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise InvalidSetting(
            f"a Realtime server's address is as wss://api.openai.com/v1/realtime, not {quoted(url)}"
        )
    path = parts.path.rstrip("/")
    path = path if path.endswith("/realtime") else f"{path or '/v1'}/realtime"
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    named = urlencode({"model": model}) if model else ""
    query = "&".join(filter(None, (parts.query, named)))
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((scheme, parts.netloc, path, query, "")), host, local


def _about(prompt: Prompt) -> object:
    """What a line must have been told for this prompt."""
    items = [(item.id, item.said) for item in prompt.items]
    manner = prompt.aloud, prompt.voice, prompt.speed, prompt.max_output_tokens
    return items, prompt.instructions, prompt.tools, manner


def _continues(line: _Line, prompt: Prompt) -> bool:
    """Whether the utterance of a prompt goes on with what the line was sent."""
    samples, sent = prompt.utterance.samples, line.sent
    same = line.about == _about(prompt) and len(samples) >= len(sent)
    return same and np.array_equal(samples[: len(sent)], sent)
