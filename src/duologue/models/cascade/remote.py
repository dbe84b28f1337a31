"""Ears and a voice on servers with OpenAI's `/audio/transcriptions` and `/audio/speech`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, nullcontext

import httpx2
import numpy as np
import openai

from duologue.audio import REPLY_RATE, AudioChunk, Samples, WavStream, from_pcm16
from duologue.audio.files import read_audio
from duologue.errors import InvalidAudio
from duologue.models.cascade.clauses import speakable
from duologue.models.cascade.parts import Heard
from duologue.models.cascade.servers import FAILURES, ServerPart

_SILENT = 20.0  # seconds without a byte
_TRIES = 2
_LONGEST = 120.0  # seconds of speech for one clause; no clause takes so long
_QUIET = 0.01  # of full scale: what is below it at the edges is silence
_EDGE = REPLY_RATE // 100  # samples of it that stay
_LISTS = 5.0  # seconds in which a server may tell which voices it has
_VOICES, _NAME = 1_000, 64  # that are kept of such a list, and characters of a name
_OPENAI = "api.openai.com"
_OPENAIS_VOICES = ("alloy", "ash", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer")
"""That all of its models have. It lists them in its documentation alone."""


class RemoteRecogniser(ServerPart):
    """Sends whole utterances; nothing is heard ahead."""

    _part, _flag, _silent = "recogniser", "stt", _SILENT
    _kinds = ("whisper", "transcri", "voxtral", "parakeet")

    def __init__(self, address: str, model: str = "", key: str = "", language: str = "") -> None:
        """Ask the model of this name; "": the only one that there is.

        Raises:
            InvalidSetting: that is no address.
        """
        super().__init__(address, model, key)
        self._language = language

    async def overhear(self, utterance: AudioChunk, listener: str) -> Heard:  # noqa: ARG002
        """Nothing: the utterance is sent when it is over."""
        return Heard("", self._language)

    async def recognise(
        self,
        utterance: AudioChunk,
        listener: str = "",  # noqa: ARG002
        language: str = "",
        likely: str = "",
    ) -> Heard:
        """All that was said.

        Raises:
            ModelFailed: the server failed; says what to do.
        """
        language = language or self._language
        if not len(utterance.samples):
            return Heard("", language)
        stream = WavStream(utterance.rate)
        file = stream.head + stream.push(utterance) + stream.end()
        for left in reversed(range(_TRIES)):
            try:
                answer = await self.client.audio.transcriptions.create(
                    model=self._model,
                    file=("speech.wav", file, "audio/wav"),
                    language=language or openai.omit,
                    prompt=likely or openai.omit,
                    response_format="json",
                )
            except FAILURES as error:
                failed = self.failure(error)
                if not left or failed.again is None or failed.again > 1:
                    raise failed from error
                await asyncio.sleep(failed.again)
            else:
                words = getattr(answer, "text", None)
                if not isinstance(words, str):
                    raise self.failure(ValueError("no text in it"))
                self.trouble = ""
                return Heard(" ".join(words.split()), language)
        raise AssertionError("the last try has returned or raised")


class RemoteSynthesiser(ServerPart):
    """Speaks as it comes: raw PCM where the server gives it, else whole files."""

    _part, _flag, _silent = "synthesiser", "tts", _SILENT
    _kinds = ("tts", "speech", "kokoro", "orpheus")
    threads = 0

    def __init__(
        self, address: str, model: str = "", key: str = "", voice: str = "", speed: float = 1.0
    ) -> None:
        """Ask the model of this name; "": the only one that there is. The usual voice is "alloy".

        Raises:
            InvalidSetting: that is no address.
        """
        super().__init__(address, model, key)
        self._voice, self.speed = voice or "alloy", speed
        self._others: tuple[str, ...] = _OPENAIS_VOICES if self.host == _OPENAI else ()
        self._raw = True  # as long as it has not said that it can't

    @property
    def name(self) -> str:
        """What it is, and where."""
        return f"{self._model or 'the only model'} {self._voice} (at {self.host})"

    @property
    def voices(self) -> tuple[str, ...]:
        """The usual one, and those that the server lists."""
        return self._voice, *(name for name in self._others if name != self._voice)

    async def start(self) -> None:
        """See whether it is there and has the model, and which voices it lists; not all do.

        Raises:
            ModelUnavailable: it is not, or has not; says what to do.
        """
        await super().start()
        try:
            answer = await self.client.get(
                "/audio/voices", cast_to=httpx2.Response, options={"timeout": _LISTS}
            )
            self._others = _names(answer.json()) or self._others
        except FAILURES:
            pass  # OpenAI's API has no such list

    def for_reply(self) -> "nullcontext[RemoteSynthesiser]":
        """How many it serves is its own business."""
        return nullcontext(self)

    async def speak(
        self,
        words: str,
        language: str = "",  # noqa: ARG002
        voice: str = "",
        speed: float = 0.0,
    ) -> AsyncGenerator[AudioChunk, None]:
        """The sound of a clause at `REPLY_RATE`, without silence around it.

        Raises:
            ModelFailed: the server failed; says what to do.
        """
        if not (text := speakable(words)):
            return
        raw = self._raw
        for left in reversed(range(_TRIES)):
            begun = False
            try:
                given = self._sound(text, voice or self._voice, speed or self.speed, raw)
                # Closing it is what stops the server.
                async with aclosing(given), aclosing(_trimmed(given)) as sounds:
                    async for sound in sounds:
                        begun = True
                        yield sound
            except FAILURES as error:
                failed = self.failure(error)
                if failed.status == 400 and raw and left:
                    raw = False  # Groq's voice gives WAV only
                    continue
                if begun or not left or failed.again is None or failed.again > 1:
                    raise failed from error
                await asyncio.sleep(failed.again)
            else:
                self.trouble, self._raw = "", raw
                return

    async def _sound(
        self, text: str, voice: str, speed: float, raw: bool
    ) -> AsyncGenerator[AudioChunk, None]:
        async with self.client.audio.speech.with_streaming_response.create(
            model=self._model,
            voice=voice,
            input=text,
            speed=speed if speed != 1.0 else openai.omit,
            response_format="pcm" if raw else "wav",
        ) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind.startswith("text/") or kind == "application/json":
                raise ValueError(f"{kind} is no sound")
            data, raw = bytearray(), raw and "wav" not in kind and "mpeg" not in kind
            left = 2 * 48_000 * _LONGEST  # bytes, were it sound of two channels in a file
            async for piece in response.iter_bytes():
                data += piece
                left -= len(piece)
                if left < 0:
                    raise self.failed("gives sound without an end; take another --tts-model")
                raw = raw and not data.startswith(b"RIFF")
                if raw and len(data) >= 9600:  # 0.2 s
                    whole = len(data) // 2 * 2
                    yield from_pcm16(bytes(data[:whole]), REPLY_RATE)
                    del data[:whole]
            if raw and len(data) > 1:
                yield from_pcm16(bytes(data[: len(data) // 2 * 2]), REPLY_RATE)
            elif not raw:
                yield await _file(bytes(data))


def _names(answer: object) -> tuple[str, ...]:
    """Of a list of voices the names: `{"voices": [name, or an object with its id or its name, …]}`."""
    listed = answer.get("voices") if isinstance(answer, dict) else None
    found = []
    for entry in listed[:_VOICES] if isinstance(listed, list) else ():
        name = entry.get("id", entry.get("name")) if isinstance(entry, dict) else entry
        if isinstance(name, str) and 0 < len(name) <= _NAME:
            found.append(name)
    return tuple(dict.fromkeys(found))


async def _file(data: bytes) -> AudioChunk:
    """A sound file, read in a thread."""
    try:
        sound = await asyncio.to_thread(read_audio, data)
    except InvalidAudio as error:
        raise ValueError(str(error)) from error
    return sound.at(REPLY_RATE)


async def _trimmed(sounds: AsyncIterator[AudioChunk]) -> AsyncGenerator[AudioChunk, None]:
    """Without the silence at both ends: that between two clauses is the chain's business."""
    held: Samples = np.zeros(0, np.float32)
    begun = False
    async for sound in sounds:
        held = np.concatenate((held, sound.samples))
        loud = np.flatnonzero(np.abs(held) > _QUIET)
        if not len(loud):
            held = held if begun else held[-_EDGE:]
            continue
        first = 0 if begun else max(0, loud[0] - _EDGE)
        end = loud[-1] + 1
        begun = True
        yield AudioChunk(held[first:end], REPLY_RATE)
        held = held[end:]
    if begun and len(held):
        yield AudioChunk(held[:_EDGE], REPLY_RATE)
