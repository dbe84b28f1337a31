"""Mini-Omni as a `BatchedModel`: users come and go between its steps."""

import logging
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from duologue.audio import INPUT_RATE
from duologue.audio.log_mel import frames_of, log_mel
from duologue.conversation.items import ReplyChunk
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.errors import ModelUnavailable
from duologue.models.mini_omni.hearing import Hearing
from duologue.models.mini_omni.nets.snac_stream import LATENTS, SeededNoise, SnacStream
from duologue.models.mini_omni.pace import FRAME_SECONDS, Pace
from duologue.models.mini_omni.prompts import Task, question, speech_prompt
from duologue.models.mini_omni.reply import PIECE, ROWS, Options, Reply, Stage
from duologue.models.mini_omni.runtime import Floats, Runtime, Span
from duologue.models.mini_omni.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_MARGIN = 0.1  # seconds that listeners keep while a newcomer is attended to: the network's share
_POOR = 0.5  # seconds left to hear: who has less comes before the rich, and before transcripts
_RICH = 1.5  # seconds left to hear
_PATIENCE = 5.0  # seconds that a newcomer waits at most for listeners to have something to live on
_QUESTION = 4  # seconds of one that is rehearsed
_REHEARSED = 16  # steps that the speed is measured in
_NEW = (Stage.HEARING, Stage.READING)


class MiniOmni:
    """Hears, thinks and talks: one pass of the networks for all replies that are under way.

    Attributes:
        slots: replies at once; on a machine that is slower than real time, one.
        speed: seconds of sound that it makes in a second for one user, measured at the start.
    """

    def __init__(
        self,
        load: Callable[[], Runtime],
        tokenizer: Path,
        options: Options,
        note: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the networks that `load` gives when it starts; `note` is for the user."""
        self.capabilities = Capabilities(
            history=False, instructions=False, transcribes=True, note=note, overhears="pauses"
        )
        self.slots = options.slots
        self.speed = 0.0
        self._load = load
        self._options = options
        self._tokenizer = _read(tokenizer)
        self._clock = clock
        self._runtime: Runtime
        self._replies: dict[int, Reply] = {}  # by slot, in the order in which they came
        self._ahead: dict[int, Hearing] = {}  # of a reply, by slot
        self._overheard: dict[str, Hearing] = {}  # the newest of each listener, the newest last
        self._encoding: tuple[Generator[None, None, list[Floats]], list[Hearing]] | None = None
        self._costs = dict.fromkeys(Stage, 0.0)  # seconds that a step with such work took lately

    def start(self) -> None:
        """Load the networks, run them in every shape, and see how fast they are."""
        self._runtime = self._load()
        self.speed = self._rehearse()
        if self.speed < 1:
            self.slots = 1
        logger.info("Mini-Omni with %s: %s", self._runtime.about, describe(self.speed))

    def close(self) -> None:
        """Let go of the networks."""
        self._replies.clear()
        self._ahead.clear()
        if hasattr(self, "_runtime"):
            self._runtime.close()

    def admit(self, slot: int, prompt: Prompt) -> None:
        """Note the question; what was not heard ahead is heard, and all is read, in the steps that follow.

        Raises:
            InvalidAudio: it holds samples that are not numbers.
        """
        hearing = self._overheard.pop(prompt.listener, None)
        if not hearing or not hearing.is_of(prompt):
            hearing = Hearing(prompt)
        pace = Pace(self.speed, self._options.max_reply, self._clock())
        self._replies[slot] = Reply(
            slot, hearing, self._runtime, self._tokenizer, self._options, pace
        )

    def overhear(self, slot: int, prompt: Prompt) -> None:
        """Hear an utterance that pauses, which costs no listener a hole.

        Raises:
            InvalidAudio: it holds samples that are not numbers.
        """
        self._overheard.pop(prompt.listener, None)
        self._overheard[prompt.listener] = self._ahead[slot] = Hearing(prompt)
        if len(self._overheard) > 2 * self.slots:  # somebody is gone, and no reply took it up
            self._overheard.pop(next(iter(self._overheard)))

    def step(self, slots: Sequence[int]) -> Sequence[ReplyChunk | None]:
        """One frame for everybody who needs it, and for newcomers as much as the others can bear."""
        replies = [self._replies[slot] for slot in slots if slot in self._replies]
        started = self._clock()
        going_on = [reply for reply in replies if not reply.is_over]
        work = self._next_work(started)
        if work is Stage.HEARING:
            self._hear()
        read = self._think(going_on, started, read=work is Stage.READING)
        self._talk(going_on)
        now = self._clock()
        # Of a longer piece of a prompt, what `PIECE` positions of it took.
        cost = (now - started) * PIECE / max(PIECE, read)
        self._costs[work] = max(cost, 0.9 * self._costs[work])
        chunks = {reply.slot: reply.chunk(now) if reply in going_on else None for reply in replies}
        for slot, hearing in self._ahead.items():
            chunks[slot] = ReplyChunk() if hearing.features is None else None
        return [chunks[slot] for slot in slots]

    def evict(self, slot: int) -> None:
        """Free a slot, at the end of its reply or before."""
        self._replies.pop(slot, None)
        self._ahead.pop(slot, None)
        if self._encoding and not set(self._encoding[1]) & set(self._wanted()):
            self._encoding = None  # nobody waits for it any more

    def _next_work(self, now: float) -> Stage:
        """What is done besides talking: for who came first, if those who listen can bear it."""
        for reply in self._replies.values():
            if reply.stage in _NEW:
                needed = self._costs[reply.stage] + _MARGIN
                bearable = self._least_reserve(now) >= needed
                if bearable or now - reply.pace.since > _PATIENCE:
                    return reply.stage
                return Stage.SPEAKING
        if self._wanted() and self._least_reserve(now) >= self._costs[Stage.HEARING] + _MARGIN:
            return Stage.HEARING
        return Stage.SPEAKING

    def _wanted(self) -> list[Hearing]:
        """What is to be heard: for replies, then ahead of them."""
        hearings = [*(reply.hearing for reply in self._replies.values()), *self._ahead.values()]
        return [hearing for hearing in dict.fromkeys(hearings) if hearing.features is None]

    def _bearable_positions(self, now: float) -> int:
        """Of a prompt: all when nobody listens, else as many as the poorest listener can wait for."""
        reserve = self._least_reserve(now)
        if reserve == float("inf"):
            return self._runtime.shape.positions
        pieces = (reserve - _MARGIN) / max(self._costs[Stage.READING], 1e-3)
        return PIECE * max(1, int(pieces))

    def _least_reserve(self, now: float) -> float:
        """Seconds that the poorest listener has left to hear."""
        speaking = [r for r in self._replies.values() if r.stage is Stage.SPEAKING]
        return min((reply.pace.reserve(now) for reply in speaking), default=float("inf"))

    def _hear(self) -> None:
        """Listen to one piece of the utterances that came first."""
        if not self._encoding:
            group = self._wanted()[: self._runtime.together]
            mels, counts = [hearing.mel for hearing in group], [hearing.count for hearing in group]
            self._encoding = self._runtime.encode(mels, counts), group
        encoding, group = self._encoding
        try:
            next(encoding)
        except StopIteration as end:
            self._encoding = None
            for hearing, features in zip(group, end.value, strict=True):
                hearing.features = features

    def _think(self, replies: Sequence[Reply], now: float, *, read: bool) -> int:
        """One pass of the language model. Gives the positions of the longest span."""
        readers = [r for r in replies if r.stage is Stage.READING][: self._runtime.together]
        poor = self._least_reserve(now) < _POOR or any(reply.stage in _NEW for reply in replies)
        asked, positions = [], self._bearable_positions(now)
        for reply in replies:
            if reply.stage in _NEW:
                rests = not read or reply not in readers
            else:
                rests = poor and reply.stage is Stage.SPEAKING and reply.pace.reserve(now) > _RICH
            # Who has said all of it holds a slot for the user's words alone: they wait for nobody.
            transcribe = not poor or reply.stage is Stage.SPOKEN
            asked.append([] if rests else reply.ask(transcribe=transcribe, positions=positions))
        spans = [span for wanted in asked for span in wanted]
        tokens = iter(self._runtime.tokens(spans) if spans else [])
        for reply, wanted in zip(replies, asked, strict=True):
            if wanted:
                reply.take([next(tokens) for _ in wanted])
        return max((span.length for span in spans), default=0)

    def _talk(self, replies: Sequence[Reply]) -> None:
        """Make sound of what was thought: of four latents, a frame's length, at most of each."""
        speakers = [reply for reply in replies if len(reply.latents) >= LATENTS]
        if speakers:
            codes = np.array([reply.latents[:LATENTS] for reply in speakers], np.int64)
            sounds = self._runtime.speak([reply.voice for reply in speakers], codes)
            for reply, sound in zip(speakers, sounds, strict=True):
                del reply.latents[:LATENTS]
                reply.add(sound)
        for reply in replies:
            if reply.has_ended:
                if rest := reply.rest():
                    codes = np.array([rest], np.int64)
                    reply.add(*self._runtime.speak([reply.voice], codes))
                reply.end()

    def _rehearse(self) -> float:
        """Run everything in the shapes that it will have; gives seconds of sound made in a second."""
        runtime, vocabulary = self._runtime, Vocabulary.of(self._runtime.shape)
        silence = np.zeros(_QUESTION * INPUT_RATE, np.float32)
        frames = frames_of(silence)
        prompt = speech_prompt(vocabulary, frames)
        for _ in range(2):  # of which the second tells what it costs
            started = self._clock()
            for _ in runtime.encode([log_mel(silence)], [frames]):
                self._costs[Stage.HEARING] = self._clock() - started
                started = self._clock()
            runtime.tokens([Span(0, 0, prompt)])
            started = self._clock()
            runtime.tokens([Span(0, 0, prompt[:, :PIECE])])
            self._costs[Stage.READING] = self._clock() - started
        says, writes = question(vocabulary, Task.A1A2), question(vocabulary, Task.A1T2)
        took = 0.0
        for users in (min(2, self._options.slots), 1):
            voices = [SnacStream(runtime.snac, SeededNoise(0)) for _ in range(users)]
            codes = np.zeros((users, LATENTS, 3), np.int64)
            for step in range(_REHEARSED):
                started = self._clock()
                spans = []
                for user in range(users):
                    spans.append(Span(ROWS * user, step, says, audio=True))
                    if step < _REHEARSED // 2:
                        spans.append(Span(ROWS * user + 1, step, writes, text=True))
                runtime.tokens(spans)
                runtime.speak(voices, codes)
                took = self._clock() - started if step == 0 else took + self._clock() - started
        return _REHEARSED * FRAME_SECONDS / took


def _read(tokenizer: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # it raises nothing more precise
        raise ModelUnavailable(f"{tokenizer} is no tokenizer that can be read: {error}") from error


def describe(speed: float) -> str:
    """One line about what this machine can do."""
    needed = 1 / FRAME_SECONDS
    line = f"{speed * needed:.1f} frames a second, of the {needed:.1f} that real time takes"
    if speed < 1:
        return f"{line}: too slow, so that a reply waits until it can be heard without holes"
    return line
