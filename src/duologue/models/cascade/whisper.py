"""Utterances to words: Whisper, in a process of its own, which hears along while the user speaks."""

import asyncio
import heapq
import itertools
import json
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from duologue import weights
from duologue.audio import INPUT_RATE, AudioChunk, Samples
from duologue.ears.vad import Silero
from duologue.errors import InvalidSetting, ModelFailed, ModelUnavailable, quoted
from duologue.models.cascade.overheard import LONGEST, Overheard, quietest
from duologue.models.cascade.parts import Heard
from duologue.models.cascade.transcript import Segment
from duologue.system.child import Child, Kept
from duologue.turns.detector import WINDOW

_log = logging.getLogger(__name__)

_CODES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg "
    "lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so "
    "af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su"
)
LANGUAGES = tuple(_CODES.split())
"""What Whisper knows, ISO 639-1 but for haw and jw (Javanese)."""

_CHILD = "duologue.models.cascade.whisper_child"

# Seconds that a look may take: 0.2 on two cores with nothing else to do, for 5 s of sound.
_LIMIT, _LIMIT_EACH = 5.0, 0.5

_SLOW = 1.2  # seconds for 4 s of noise, at the start: then the smaller network is taken
_LISTENERS = 64  # that are remembered
# Seconds. Where a look takes longer, only pauses are looked at: who has ended would wait for the rest.
_QUICK = 0.6
_SHORTEST = INPUT_RATE // 2  # samples: in less there is nothing to work ahead on
_AUDIBLE = 0.003  # of full scale, -50 dB: it writes words for a silence of zeros
_TELLING = 3 * INPUT_RATE // 2  # samples in which a language can be told

# Music of 15 s had one window above it, a whispered "What is the capital of France?" three.
_VOICED, _VOICED_WINDOWS = 0.5, 3

_THREADS = 1  # with 2 the steps of so small a network take longer: 160 ms for six words, not 90

_FINAL, _PAUSE, _ON = 0, 1, 2  # whose turn is first: the user waits; may have ended; goes on


@dataclass(order=True, slots=True)
class _Look:
    """A piece of sound that waits to be listened to."""

    rank: int
    number: int
    samples: Samples = field(compare=False)
    heading: dict[str, Any] = field(compare=False)  # what the process is told beside it
    listener: str = field(compare=False)
    found: asyncio.Future[dict[str, Any]] = field(compare=False)


class Whisper:
    """Recognises one utterance after the other; those that are over go before those that go on."""

    def __init__(self, model: str = "", language: str = "") -> None:
        """Take `whisper-base` or `whisper-tiny.en`; "": the former, unless it is slow here.

        Args:
            model: of the weights.
            language: that is spoken, of `LANGUAGES`; "": it is found out, and English until then.

        Raises:
            ModelUnavailable: the weights are missing.
            InvalidSetting: it does not know that language.
        """
        self._model = model or "whisper-base"
        self._may_change = not model
        self._folder = weights.locate(self._model)
        self._language = self._known(language)
        self._vad = Silero()
        self._kept = Kept("recogniser", self._start_child)
        self._listeners: OrderedDict[str, Overheard] = OrderedDict()
        self._waiting: list[_Look] = []
        self._took = 0.0  # seconds, the last look
        self._now = ""  # the listener whose look is under way
        self._ahead: dict[str, asyncio.Task[None]] = {}  # what is worked out ahead, by listener
        self._numbers = itertools.count()
        self._stirred = asyncio.Event()
        self._working: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """What it is."""
        return f"{self._model.replace('-', ' ').title().replace('.En', '.en')} (here)"

    @property
    def trouble(self) -> str:
        """What is wrong with the process at this moment; empty: nothing."""
        return self._kept.trouble

    async def start(self) -> None:
        """Start the process; take the smaller network where that is slow, and say so.

        Raises:
            ModelUnavailable: it cannot be started; says why.
        """
        child = await self._kept.ready()
        seconds = child.greeting
        english = self._language in ("", "en")  # the smaller one knows no other language
        if self._may_change and english and isinstance(seconds, float) and seconds > _SLOW:
            await self._take_the_smaller(seconds)
        await self._kept.start()
        self._working = asyncio.create_task(self._work())

    async def _take_the_smaller(self, seconds: float) -> None:
        smaller = "whisper-tiny.en"
        slow = f"{self._model} takes {seconds:.1f} s for 4 s of sound here"
        try:
            self._folder = weights.locate(smaller)
        except ModelUnavailable:
            _log.warning("%s; a quicker one: duologue pull %s", slow, smaller)
            return
        _log.warning("%s; %s, which hears English only and less well, is taken", slow, smaller)
        self._model = smaller
        await self._kept.close()

    async def overhear(self, utterance: AudioChunk, listener: str) -> Heard:
        """The words so far that will hardly change, of an utterance that goes on.

        While others wait, or the machine is slow, nothing is worked out but in pauses.

        Raises:
            ModelFailed: the process broke down or hung, and the one after it, too.
        """
        samples = utterance.samples
        state = self._listener(listener, samples)
        words = await self._ahead_of(state, samples, listener)
        return Heard(words, state.fixed or state.language)

    async def _ahead_of(self, state: Overheard, samples: Samples, listener: str) -> str:
        if len(samples) - state.begin < _SHORTEST or _silent(samples):
            return state.stable
        rank = _PAUSE if _fades(samples) else _ON
        behind = bool(self._waiting) or self._took > _QUICK
        if listener in self._ahead or (rank == _ON and behind):
            return state.stable
        # A task of its own: whoever is asked for all of it meanwhile waits for this, and not for it again.
        task = self._ahead[listener] = asyncio.create_task(
            self._look(state, samples, rank, listener)
        )
        task.add_done_callback(lambda _: self._ahead.pop(listener, None))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(task)
        return state.words if rank == _PAUSE else state.stable

    async def recognise(
        self, utterance: AudioChunk, listener: str = "", language: str = "", likely: str = ""
    ) -> Heard:
        """All that was said; empty when there are no words in it.

        Raises:
            InvalidSetting: it does not know that language.
            ModelFailed: the process broke down or hung, and the one after it, too.
        """
        samples, fixed = utterance.samples, self._known(language) or self._language
        if _silent(samples):
            return Heard("", fixed)
        if ahead := self._ahead.get(listener):
            if self._now != listener:
                ahead.cancel()
            await asyncio.wait([ahead])
        state = Overheard(fixed=fixed, likely=likely)
        if listener:
            state = self._listener(listener, samples)
        if not state.covers(samples):
            await self._look(state, samples, _FINAL, listener)
        return Heard(state.words, fixed or state.language)

    async def close(self) -> None:
        """End the process."""
        if self._working:
            self._working.cancel()
            await asyncio.wait([self._working])
        for task in self._ahead.values():
            task.cancel()
        for look in self._waiting:
            look.found.cancel()
        await self._kept.close()

    def _known(self, language: str) -> str:
        """This language, if it can be heard."""
        english = self._model.endswith(".en")
        if language and language not in (("en",) if english else LANGUAGES):
            known = "en" if english else "languages such as en, de and zh"
            raise InvalidSetting(f"{self._model} hears {known}, not {quoted(language)}")
        return language

    def _listener(self, listener: str, samples: Samples) -> Overheard:
        state = self._listeners.pop(listener, None)
        if state is None or not state.is_of(samples):
            state = Overheard(language=state.language if state else "", fixed=self._language)
        self._listeners[listener] = state
        while len(self._listeners) > _LISTENERS:
            self._listeners.popitem(last=False)
        return state

    async def _look(self, state: Overheard, samples: Samples, rank: int, listener: str) -> None:
        """Work out what is not settled yet."""
        while len(samples) - state.begin > LONGEST:
            end = quietest(samples, state.begin + LONGEST - INPUT_RATE)
            words = await self._ask(samples[state.begin : end], state, rank, listener)
            state.begin, state.found = end, []
            state.settled = " ".join(
                (state.settled, *(part.words.strip() for part in words))
            ).strip()
        state.note(samples, await self._ask(samples[state.begin :], state, rank, listener))

    async def _ask(
        self, samples: Samples, state: Overheard, rank: int, listener: str
    ) -> list[Segment]:
        language = state.fixed or state.language or "en"
        detect = not state.fixed and rank != _ON and len(samples) >= _TELLING
        found: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        heading = {"language": language, "detect": detect, "likely": state.likely}
        look = _Look(rank, next(self._numbers), samples, heading, listener, found)
        heapq.heappush(self._waiting, look)
        self._stirred.set()
        answer = await found
        segments = [Segment(*segment) for segment in answer["segments"]]
        # It writes words for noise and music, too. Where it may have, somebody must be heard to speak.
        if segments and answer["doubtful"] and not await asyncio.to_thread(self._spoken, samples):
            return []
        state.language = answer["language"]
        return segments

    def _spoken(self, samples: Samples) -> bool:
        stream = self._vad.stream()
        windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
        return sum(stream(window) >= _VOICED for window in windows) >= _VOICED_WINDOWS

    async def _work(self) -> None:
        """Listen to what waits, one after the other."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._waiting:
                look = heapq.heappop(self._waiting)
                if look.found.cancelled():
                    continue
                self._now = look.listener
                begun = time.monotonic()
                try:
                    answer = await self._transcribe(look)
                except ModelFailed as error:
                    if not look.found.done():
                        look.found.set_exception(error)
                else:
                    if not look.found.done():
                        look.found.set_result(answer)
                self._now, self._took = "", time.monotonic() - begun

    async def _transcribe(self, look: _Look) -> dict[str, Any]:
        pcm = AudioChunk(look.samples, INPUT_RATE).pcm16()
        header = json.dumps({"bytes": len(pcm), **look.heading}).encode()
        within = _LIMIT + _LIMIT_EACH * len(look.samples) / INPUT_RATE
        answer = await self._kept.ask(
            len(header).to_bytes(4, "little") + header + pcm,
            within,
            "the utterance is recognised once again",
        )
        assert isinstance(answer, dict)
        return answer

    async def _start_child(self) -> Child:
        return await Child.start("recogniser", _CHILD, str(self._folder), str(_THREADS))


def _silent(samples: Samples) -> bool:
    return bool(np.abs(samples).max(initial=0) < _AUDIBLE)


def _fades(samples: Samples) -> bool:
    """Whether the newest 64 ms are quiet: the user pauses."""
    newest = samples[-1024:]
    return bool(np.sqrt((newest**2).mean()) < 0.1 * np.abs(samples).max())
