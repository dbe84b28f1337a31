"""The three parts, put together."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from duologue.audio import REPLY_RATE, AudioChunk, concatenate, silence
from duologue.conversation.items import FunctionCall, ReplyChunk, Usage
from duologue.conversation.prompt import Capabilities, Prompt
from duologue.models.cascade.clauses import Clauses, speakable
from duologue.models.cascade.parts import (
    QUICKEST,
    SLOWEST,
    AnswerCut,
    Heard,
    LanguageModel,
    LimitReached,
    Part,
    Recogniser,
    Synthesiser,
)
from duologue.system.cpus import cpus

_NOT_HEARD = "I did not catch that."
_SPEECHLESS = "I don't know what to say."

_SENTENCE_PAUSE = 0.3  # seconds between clauses; without them, speech made in pieces sounds hasty
_CLAUSE_PAUSE = 0.12

_HEARD = 16  # utterances whose words are kept, with their sound: 2 MB each at most

_PACE = 15.0  # characters a second, of speech; words are told with the sound that they are in


# Clients that know only these must name one.
_OPENAI_VOICES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)


@dataclass(slots=True)
class _Hearing:
    """An utterance that is recognised, or was.

    Attributes:
        utterance: held, so that no other sound has its id.
        task: that recognises it.
        waiting: how many want to know.
    """

    utterance: AudioChunk
    task: asyncio.Task[Heard]
    waiting: int = 0

    @property
    def is_vain(self) -> bool:
        """Whether nobody will know by it what was said."""
        task = self.task
        ended = task.done() and (task.cancelled() or task.exception() is not None)
        return ended or task.cancelling() > 0


@dataclass(frozen=True, slots=True)
class _Delivery:
    """How one reply is spoken.

    Attributes:
        speaker: who speaks it.
        voice: of the speaker's; empty: the usual one.
        speed: 1 is usual, whatever it was started with.
        aloud: False: words alone are wanted.
    """

    speaker: Synthesiser
    voice: str
    speed: float
    aloud: bool


class Cascade:
    """Recognises, thinks and speaks: the speech begins while the rest is still being written."""

    def __init__(
        self, recogniser: Recogniser, language_model: LanguageModel, synthesiser: Synthesiser
    ) -> None:
        self._recogniser = recogniser
        self._language_model = language_model
        self._synthesiser = synthesiser
        self._heard: OrderedDict[int, _Hearing] = (
            OrderedDict()
        )  # by the sound's id, the newest last
        self._under_way = 0  # replies
        self._processors = cpus()

    @property
    def _parts(self) -> tuple[Part, ...]:
        return self._recogniser, self._language_model, self._synthesiser

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; the note names the parts."""
        kinds = ("hears", "thinks", "speaks")
        parts = ", ".join(
            f"{part.name} {kind}" for part, kind in zip(self._parts, kinds, strict=True)
        )
        usual = self._synthesiser.speed
        return Capabilities(
            history=True,
            instructions=True,
            transcribes=True,
            reads=True,
            note=f"{parts}. {self._language_model.advice}".strip(),
            overhears="speech",
            calls=self._language_model.calls,
            writes=True,
            counts=True,
            voices=self._synthesiser.voices,
            speeds=(SLOWEST / usual, QUICKEST / usual),
        )

    @property
    def trouble(self) -> str:
        """What is wrong with one of the parts at this moment; empty: nothing."""
        return "; ".join(part.trouble for part in self._parts if part.trouble)

    async def start(self) -> None:
        """Start the parts, and warm them up."""
        try:
            started = await asyncio.gather(
                *(part.start() for part in self._parts), return_exceptions=True
            )
        except asyncio.CancelledError:
            await self.close()
            raise
        for failure in started:
            if failure is not None:
                await self.close()
                raise failure

    async def overhear(self, prompt: Prompt) -> str:
        """The words that are settled, so far. What was said before is read meanwhile."""
        heard = await self._recogniser.overhear(prompt.utterance, prompt.listener)
        self._language_model.read_ahead(
            prompt.items, prompt.instructions, heard.language, prompt.tools
        )
        return heard.words

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyChunk, None]:
        """What was said, then the answer, clause by clause as it is written."""
        self._under_way += 1
        try:
            with self._synthesiser.for_reply() as speaker:
                how = _delivery(prompt, speaker)
                async with contextlib.aclosing(self._reply(prompt, how)) as chunks:
                    async for chunk in chunks:
                        yield chunk
        finally:
            self._under_way -= 1

    async def _reply(self, prompt: Prompt, how: _Delivery) -> AsyncGenerator[ReplyChunk, None]:
        heard = Heard("", "")
        if prompt.spoken:
            heard = await self._hear(prompt.utterance, prompt.listener)
            yield ReplyChunk(user_text=heard.words, language=heard.language)
        if heard.words or not prompt.spoken:
            answer = self._answer(prompt, heard, how)
        else:
            answer = self._excuse(prompt, how)
        async with contextlib.aclosing(answer) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _excuse(self, prompt: Prompt, how: _Delivery) -> AsyncGenerator[ReplyChunk, None]:
        """Nothing was understood. Said once: who makes noise is not told so again and again."""
        said = [item for item in prompt.items if item.sound]
        if not said or said[-1].words:
            async for chunk in self._say(_NOT_HEARD, "en", how):
                yield chunk

    async def _answer(
        self, prompt: Prompt, heard: Heard, how: _Delivery
    ) -> AsyncGenerator[ReplyChunk, None]:
        pause, space, done = 0.0, "", False
        language = self._language_model.writes or heard.language
        async with contextlib.aclosing(self._clauses(prompt, heard)) as clauses:
            async for clause in clauses:
                if isinstance(clause, ReplyChunk):
                    done = done or clause.call is not None or clause.incomplete
                    yield clause
                elif words := speakable(clause):
                    first = True
                    spoken = self._say(clause, language, how)
                    async with contextlib.aclosing(spoken) as chunks:
                        async for chunk in chunks:
                            yield _after(chunk, pause, space) if first else chunk
                            first = False
                    pause, space = _pause_after(words), " "
        if not space and not done:
            async for chunk in self._say(_SPEECHLESS, "en", how):
                yield chunk

    async def transcribe(
        self, utterance: AudioChunk, language: str = "", listener: str = "", likely: str = ""
    ) -> tuple[str, str]:
        """The words of an utterance, and its language."""
        if language or likely:
            heard = await self._recogniser.recognise(utterance, language=language, likely=likely)
        else:
            heard = await self._hear(utterance, listener)
        return heard.words, heard.language

    async def _hear(self, utterance: AudioChunk, listener: str = "") -> Heard:
        """What was said. It is worked out once, though its words and a reply to it are asked for."""
        key = id(utterance)
        hearing = self._heard.get(key)
        if not hearing:
            recognising = self._recogniser.recognise(utterance, listener)
            hearing = self._heard[key] = _Hearing(utterance, asyncio.create_task(recognising))
            while len(self._heard) > _HEARD:
                self._heard.popitem(last=False)
        hearing.waiting += 1
        try:
            return await asyncio.shield(hearing.task)
        finally:
            hearing.waiting -= 1
            if not hearing.task.done() and not hearing.waiting:
                hearing.task.cancel()  # nobody wants it any more
            if hearing.is_vain and self._heard.get(key) is hearing:
                del self._heard[key]

    async def speak(
        self, text: str, voice: str = "", speed: float = 1.0
    ) -> AsyncGenerator[AudioChunk, None]:
        """The sound of a text, clause by clause; OpenAI's names of voices stand for the usual one."""
        voice = "" if voice.lower() in _OPENAI_VOICES else voice
        clauses, pause = Clauses(), 0.0
        for clause in (*clauses.push(text), clauses.flush()):
            if not (words := speakable(clause)):
                continue
            sounds = self._synthesiser.speak(clause.strip(), "", voice, speed)
            async with contextlib.aclosing(sounds):
                async for sound in sounds:
                    if pause:
                        yield silence(pause, REPLY_RATE)
                    pause = 0.0
                    yield sound
            pause = _pause_after(words)

    async def close(self) -> None:
        """Let go of the parts."""
        await asyncio.gather(*(part.close() for part in self._parts))

    async def _clauses(
        self, prompt: Prompt, heard: Heard
    ) -> AsyncGenerator[str | ReplyChunk, None]:
        """The answer in clauses; and what else there is of it, as chunks without words."""
        clauses = Clauses()
        answer = self._language_model.answer(
            heard.words if prompt.spoken else None,
            prompt.items,
            prompt.instructions,
            heard.language,
            prompt.tools,
            prompt.max_output_tokens,
        )
        said = cut = False
        last = []  # what is said before it is heard before it
        async with contextlib.aclosing(answer) as pieces:
            try:
                async for piece in pieces:
                    if isinstance(piece, Usage):
                        yield ReplyChunk(usage=piece)
                    elif isinstance(piece, FunctionCall):
                        last.append(ReplyChunk(call=piece))
                    else:
                        for clause in clauses.push(piece):
                            said = True
                            yield clause
            except LimitReached:
                last.append(ReplyChunk(incomplete=True))
            except AnswerCut:
                cut = True
        if (rest := clauses.flush()) and not (cut and said):
            yield rest
        for chunk in last:
            yield chunk

    async def _say(
        self, clause: str, language: str, how: _Delivery
    ) -> AsyncGenerator[ReplyChunk, None]:
        """A clause: its words come with the sound that they are in, as far as one can tell."""
        left = speakable(clause)
        if not how.aloud:
            yield ReplyChunk(text=left)
            return
        sounding = how.speaker.speak(clause.strip(), language, how.voice, how.speed)
        async with contextlib.aclosing(sounding) as sounds:
            while sound := await self._made(sounds, how.speaker.threads):
                told, left = _within(left, sound.duration * how.speed)
                yield ReplyChunk(sound, told)
        if left:
            yield ReplyChunk(text=left)

    async def _made(
        self, sounds: AsyncGenerator[AudioChunk, None], threads: int
    ) -> AudioChunk | None:
        """The next sound. Where the voice takes all processors, the language model writes on afterwards.

        It has written more than is spoken by then. Where there are several replies, it has to write others.
        """
        alone = self._under_way == 1 and threads >= self._processors
        with self._language_model.held() if alone else contextlib.nullcontext():
            return await anext(sounds, None)


def _delivery(prompt: Prompt, speaker: Synthesiser) -> _Delivery:
    """How the reply to a prompt is spoken; the usual voice goes by the language, and has no name there."""
    voice = prompt.voice if prompt.voice in speaker.voices[1:] else ""
    return _Delivery(speaker, voice, prompt.speed * speaker.speed, prompt.aloud)


def _pause_after(words: str) -> float:
    return _SENTENCE_PAUSE if words[-1] in ".!?…" else _CLAUSE_PAUSE


def _after(chunk: ReplyChunk, pause: float, space: str) -> ReplyChunk:
    """The first chunk of a clause, after a pause."""
    if chunk.audio is None or not pause:
        return replace(chunk, text=space + chunk.text)
    sound = concatenate([silence(pause, REPLY_RATE), chunk.audio], REPLY_RATE)
    return ReplyChunk(sound, space + chunk.text)


def _within(words: str, seconds: float) -> tuple[str, str]:
    """The words that so many seconds of speech may hold, and the rest. Most speech is a whole clause."""
    if seconds * _PACE >= 0.5 * len(words):
        return words, ""
    place = words.find(" ", round(seconds * _PACE))
    return (words, "") if place < 0 else (words[:place], words[place:])
