"""What is asked over HTTP: the body of a request, and the utterance in it."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from duologue.audio import INPUT_RATE, AudioChunk, unbase64
from duologue.audio.files import SoundReaders, read_plain_wav
from duologue.errors import ClientTooSlow, InvalidRequest, MessageTooBig, TooManyReplies

FRAME = 2048
"""Samples: a step of the original's codec, which its two numbers count in."""

_MOST = 2048  # steps that the original's model can make

_PIECE = 12  # frames, 1 s: 2 ms of MP3, so the event loop is not held for longer

_BEGIN = 10.0  # seconds that a body may stand still

_PACE = 64 * 1024  # bytes a second that a body must come with on the whole: half a Mbit/s

_BODIES, _BODIES_EACH = 128, 32  # that arrive or are read at once: of everybody, of one address

_LARGEST, _LARGEST_EACH = 8, 3  # bodies of the largest size that may lie here, likewise


@dataclass(frozen=True, slots=True)
class Question:
    """What a client of `/chat` asks.

    Attributes:
        utterance: at `INPUT_RATE`.
        most: samples of the reply.
        piece: samples of one write.
    """

    utterance: AudioChunk
    most: int
    piece: int


class Body:
    """The body of a request as it arrives."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.data = bytearray()


class Questions:
    """Reads what clients ask, of everybody so much that others have room, in threads of its own."""

    def __init__(self, message_bytes: int, time_limit: float) -> None:
        """Take bodies of `message_bytes`, and utterances of `time_limit` seconds."""
        self._message_bytes = message_bytes
        self._time_limit = time_limit
        self._bodies: set[Body] = set()
        # Not asyncio's: those make recordings and read long messages of sessions.
        self._threads = ThreadPoolExecutor(2, "chat")
        self._readers = SoundReaders()

    @contextmanager
    def arriving(self, address: str) -> Iterator[Body]:
        """Hold room for a body, until the block or `read` ends.

        Raises:
            TooManyReplies: too many arrive, here or from this address.
        """
        mine = sum(body.address == address for body in self._bodies)
        if len(self._bodies) >= _BODIES or mine >= _BODIES_EACH:
            raise TooManyReplies("too many requests arrive; try again later")
        body = Body(address)
        self._bodies.add(body)
        try:
            yield body
        finally:
            self._bodies.discard(body)

    async def receive(self, body: Body, request: Request) -> None:
        """Let a body arrive, as far as it is not too long or too slow.

        Raises:
            MessageTooBig: what is announced as such is not even awaited.
            TooManyReplies: what lies here already is too long.
            ClientTooSlow: it stands still.
        """
        limit = self._message_bytes
        too_big = MessageTooBig(f"a request may have {limit / 2**20:g} MiB; send a shorter sound")
        if int(request.headers.get("content-length", 0)) > limit:
            raise too_big
        now = asyncio.get_running_loop().time
        start = now()
        try:
            async with asyncio.timeout(_BEGIN) as deadline:
                async for piece in request.stream():
                    body.data += piece
                    if len(body.data) > limit:
                        raise too_big
                    self._check_room(body.address)
                    paced = start + len(body.data) / _PACE
                    deadline.reschedule(min(now(), paced) + _BEGIN)
        except TimeoutError as error:
            raise ClientTooSlow(
                f"the request came too slowly: nothing for {_BEGIN:g} s, or less than "
                f"{_PACE // 1024} kB/s"
            ) from error

    async def read(self, body: Body) -> Question:
        """Read the question in a body, which is let go of.

        Raises:
            InvalidRequest: it is no JSON, or a field is wrong.
            InvalidAudio: its sound cannot be read.
            ReaderUnavailable: not now.
        """
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(self._threads, _parse, body.data, self._time_limit)
        body.data = bytearray()
        utterance = asked.utterance
        if utterance is None:
            reading = self._readers.read(asked.file, self._time_limit, INPUT_RATE)
            utterance = await asyncio.wrap_future(reading)
        self._bodies.discard(body)
        return Question(utterance, asked.most, asked.piece)

    async def sound(self, body: Body, file: bytes, limit: float, rate: int) -> AudioChunk:
        """Read a sound file that came in a body, which is let go of.

        Raises:
            InvalidAudio: it cannot be read, or lasts longer than `limit` seconds.
            ReaderUnavailable: not now.
        """
        body.data = bytearray()
        loop = asyncio.get_running_loop()
        plain = await loop.run_in_executor(self._threads, read_plain_wav, file, limit, rate)
        if plain is None:
            plain = await asyncio.wrap_future(self._readers.read(file, limit, rate))
        self._bodies.discard(body)
        return plain

    def close(self) -> None:
        """End the threads, and the processes that decode."""
        self._readers.close()
        self._threads.shutdown(cancel_futures=True)

    def _check_room(self, address: str) -> None:
        lie = sum(len(body.data) for body in self._bodies)
        mine = sum(len(body.data) for body in self._bodies if body.address == address)
        if lie > _LARGEST * self._message_bytes or mine > _LARGEST_EACH * self._message_bytes:
            raise TooManyReplies("too long requests arrive; try again later")


@dataclass(frozen=True, slots=True)
class _Asked:
    """Attributes: the file, where it is not read yet; or else the utterance; as in `Question`."""

    file: bytes
    utterance: AudioChunk | None
    most: int
    piece: int


def _parse(body: bytearray, time_limit: float) -> _Asked:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(f"the body is a JSON object, not a JSON {type(fields).__name__}")
    most = FRAME * _count(fields, "max_tokens", _MOST, least=1)
    piece = FRAME * min(_count(fields, "stream_stride", 4, least=0), _PIECE)
    audio = fields.get("audio")
    if not isinstance(audio, str):
        raise InvalidRequest(f"audio is the base64 of a sound file, not {_show(audio)}", "audio")
    file = unbase64(audio)
    utterance = read_plain_wav(file, time_limit, INPUT_RATE)
    return _Asked(file if utterance is None else b"", utterance, most, piece)


def _count(fields: dict[str, Any], name: str, default: int, least: int) -> int:
    value = fields.get(name, default)
    if type(value) is not int or value < least:  # to Python, True is an integer
        raise InvalidRequest(
            f"{name} is a whole number from {least} to {_MOST}, not {_show(value)}", name
        )
    return max(1, min(value, _MOST))


def _show(value: object) -> str:
    """As it was sent, unless that may be long."""
    kinds: dict[type, str] = {str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value)) or json.dumps(value)[:40]
