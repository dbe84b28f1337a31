"""Words to sound: Kokoro-82M, in a process of its own, and espeak-ng for what it does not speak."""

import asyncio
import base64
import contextlib
import json
import logging
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from duologue import weights
from duologue.audio import REPLY_RATE, AudioChunk, from_pcm16
from duologue.errors import InvalidSetting, quoted
from duologue.models.cascade.espeak import Espeak
from duologue.models.cascade.parts import Synthesiser
from duologue.system.child import Child, Kept
from duologue.system.cpus import cpus, instructions

_log = logging.getLogger(__name__)

_CHILD = "duologue.models.cascade.kokoro.child"
# Large blocks go back to the system; else what a clause needed is kept in pieces, 250 MB in the end.
_TIDY_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1000000",
    "MALLOC_TRIM_THRESHOLD_": "1000000",
}
_LIMIT = 8.0  # seconds that a piece may take: 1 on two cores with nothing else to do

_BUSY = 0.5  # of its time that it speaks for at most: the language model computes, too
_SLOW = 0.8  # seconds that a second of speech may take: with more, there would be gaps in it

_USUAL = "af_heart"
# The language of a voice, by its first letter, and as espeak-ng calls it; and a voice of each.
_LANGUAGES = {
    "a": ("en", "en-us"),
    "b": ("en", "en-gb"),
    "e": ("es", "es"),
    "f": ("fr", "fr-fr"),
    "h": ("hi", "hi"),
    "i": ("it", "it"),
    "p": ("pt", "pt-br"),
}
_UNSAID = ("j", "z")  # its voices for Japanese and Chinese
_VOICES = {"es": "ef_dora", "fr": "ff_siwis", "hi": "hf_alpha", "it": "if_sara", "pt": "pf_dora"}
_NAME = re.compile(r"[a-z][fm]_[a-z]+")


def is_voice(name: str) -> bool:
    """Whether a voice of Kokoro may be called so; those of espeak-ng are not."""
    return _NAME.fullmatch(name) is not None


class Kokoro:
    """Speaks clauses, one after the other; who is abandoned is not spoken for any more."""

    def __init__(self, voice: str = "", speed: float = 1.0, threads: int = 0) -> None:
        """Speak with a voice of Kokoro, such as af_heart (the usual one), am_michael or bf_emma.

        Args:
            voice: "": the usual one.
            speed: 1 is usual.
            threads: that compute; 0: one for each processor, four at most.

        Raises:
            InvalidSetting: there is no such voice, or nothing tells how its language is said.
            ModelUnavailable: weights are missing, or espeak-ng cannot be loaded.
        """
        self._voice, self.speed = voice or _USUAL, speed
        self._threads = threads or max(1, min(4, cpus()))
        self._voices = _voices()
        self._file_of(self._voice)
        self._network, self._dictionaries = weights.locate("kokoro"), weights.locate("misaki-en")
        self._espeak = Espeak("", speed)
        self._kept = Kept("synthesiser", self._start_child)
        self._turn = asyncio.Lock()
        self._asking = set[asyncio.Task[dict[str, Any]]]()
        self._slow = ""
        self._most = 1  # replies that it speaks at once
        self._replies = self._others = 0  # under way: those that it speaks, and that espeak-ng does
        self._told = set[str]()

    @property
    def name(self) -> str:
        """What it is."""
        return (
            f"{self._espeak.name[:-1]}; {self._slow})"
            if self._slow
            else f"Kokoro {self._voice} (here)"
        )

    @property
    def voices(self) -> tuple[str, ...]:
        """Its own, then those of espeak-ng; where it is too slow, those alone."""
        if self._slow:
            return self._espeak.voices
        return self._voice, *sorted(self._voices.keys() - {self._voice}), *self._espeak.voices

    @property
    def threads(self) -> int:
        """That compute."""
        return 0 if self._slow else self._threads

    @property
    def trouble(self) -> str:
        """What is wrong: with the process, or that it does not speak for all; empty: nothing."""
        return self._kept.trouble or (self._crowded if self._others else "")

    async def start(self) -> None:
        """Start the process; where it is too slow, espeak-ng is taken, and said so.

        Raises:
            ModelUnavailable: it cannot be started; says why.
        """
        pace = (await self._kept.ready()).greeting
        if isinstance(pace, float) and pace > _SLOW:
            self._slow = f"Kokoro takes {pace:.1f} s for a second of speech here"
            _log.warning("%s; espeak-ng speaks in its place", self._slow)
            await self._kept.close()
            return
        if isinstance(pace, float):
            self._most = max(1, int(_BUSY / pace))
        await self._kept.start()

    @contextlib.contextmanager
    def for_reply(self) -> Iterator[Synthesiser]:
        """This voice, while it can keep up with all that it speaks; then espeak-ng, and it says so."""
        if self._slow or self._replies < self._most:
            self._replies += 1
            try:
                yield self
            finally:
                self._replies -= 1
            return
        if self._crowded not in self._told:
            self._told.add(self._crowded)
            _log.warning("%s", self._crowded)
        self._others += 1
        try:
            yield self._espeak
        finally:
            self._others -= 1

    @property
    def _crowded(self) -> str:
        replies = "one reply" if self._most == 1 else f"{self._most} replies"
        return f"Kokoro can speak {replies} at once here; espeak-ng speaks the others"

    async def speak(
        self, words: str, language: str = "", voice: str = "", speed: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        """The sound of a clause at `REPLY_RATE`, without silence around it; none where it has no words.

        Raises:
            InvalidSetting: there is no such voice.
            ModelFailed: the process broke down or hung, and the one after it, too.
        """
        path, named = None, ""
        if voice and not is_voice(voice):
            named = voice  # of espeak-ng
        elif not self._slow:
            path = self._file_for(language, voice or self._voice)
        if path is None:
            async with aclosing(self._espeak.speak(words, language, named, speed)) as sounds:
                async for sound in sounds:
                    yield sound
            return
        said = _LANGUAGES[path.stem[0]][1]
        answer = await self._ask({"words": words, "language": said})
        for piece in answer["pieces"]:
            request = {"phonemes": piece, "voice": str(path), "speed": speed or self.speed}
            sound = from_pcm16(base64.b64decode((await self._ask(request))["pcm"]), REPLY_RATE)
            if len(sound.samples):
                yield sound

    async def close(self) -> None:
        """End the process."""
        for task in self._asking:
            task.cancel()
        await self._kept.close()
        await self._espeak.close()

    def _file_of(self, voice: str) -> Path:
        """The file of a voice.

        Raises:
            InvalidSetting: there is none of that name.
        """
        if path := self._voices.get(voice):
            return path
        if voice[:1] in _UNSAID and is_voice(voice):
            raise InvalidSetting(
                f"the voice {voice} speaks Japanese or Chinese, which nothing here knows how to say; "
                "take one of another language"
            )
        more = "" if len(self._voices) > 1 else "; more: duologue pull kokoro-voices"
        known = ", ".join(sorted(self._voices))
        raise InvalidSetting(f"Kokoro has no voice {quoted(voice)} here; there are {known}{more}")

    def _file_for(self, language: str, wanted: str) -> Path | None:
        """The file of a voice that speaks a language: if it can be, the one that is wanted.

        None: espeak-ng does.

        Raises:
            InvalidSetting: there is no voice of the name that is wanted.
        """
        for voice, file in (
            (wanted, self._file_of(wanted)),
            (self._voice, self._voices[self._voice]),
        ):
            if language in ("", _LANGUAGES[voice[0]][0]):
                return file
        name = _USUAL if language == "en" else _VOICES.get(language, "")
        path = self._voices.get(name)
        if path is None and language not in self._told:
            self._told.add(language)
            hint = "; its voice for that: duologue pull kokoro-voices" if name else ""
            _log.warning("espeak-ng speaks %r, Kokoro does not%s", language, hint)
        return path

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the process, in turn. Who gives up waiting leaves nothing for the next one to trip over."""
        given_up = asyncio.Event()
        task = asyncio.create_task(self._exchange(request, given_up))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(task)
        finally:
            given_up.set()

    async def _exchange(self, request: dict[str, Any], given_up: asyncio.Event) -> dict[str, Any]:
        async with self._turn:
            if given_up.is_set():
                return {}
            line = json.dumps(request).encode() + b"\n"
            found = await self._kept.ask(line, _LIMIT, "the clause is spoken once again")
        assert isinstance(found, dict)
        return found

    async def _start_child(self) -> Child:
        arguments = (
            self._network,
            self._dictionaries,
            self._voices[self._voice],
            self._threads,
        )
        return await Child.start(
            "synthesiser", _CHILD, *map(str, arguments), environment={**_TIDY_MEMORY, **_units()}
        )


def _units() -> dict[str, str]:
    """Without matrix units, where there are some.

    They are an eighth faster, but each new length of a clause is compiled for them, and takes twice as long
    the first time; and all weights lie there once more: 1,020 MB instead of 515.
    """
    return {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"} if "amx_tile" in instructions() else {}


def _voices() -> dict[str, Path]:
    """The files of the voices that are here and whose language can be spoken, by name.

    Raises:
        ModelUnavailable: they are damaged.
    """
    found = {_USUAL: Path(__file__).with_name(f"{_USUAL}.bin")}
    if weights.is_there("kokoro-voices"):
        files = weights.locate("kokoro-voices").glob("*.bin")
        found |= {path.stem: path for path in files if path.stem[0] in _LANGUAGES}
    return found
