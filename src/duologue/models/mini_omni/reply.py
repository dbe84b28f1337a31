"""One reply of Mini-Omni, from the question to its last sound and the user's words."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, Samples, concatenate
from duologue.conversation.items import ReplyChunk
from duologue.models.mini_omni.captions import Captions
from duologue.models.mini_omni.decoding import SpokenReply, WrittenReply
from duologue.models.mini_omni.hearing import Hearing
from duologue.models.mini_omni.nets.shapes import CODEBOOKS
from duologue.models.mini_omni.nets.snac_stream import LATENTS, SeededNoise, SnacStream
from duologue.models.mini_omni.pace import FRAME_SECONDS, Pace
from duologue.models.mini_omni.prompts import Task, question, speech_prompt
from duologue.models.mini_omni.runtime import Runtime, Span, Tokens
from duologue.models.mini_omni.vocabulary import Vocabulary

ROWS = 3
"""Of the cache, for one reply: what is said, what is written, what the user said."""

PIECE = 64
"""Positions of a prompt that are read at once where somebody listens: 80 ms on two cores."""

_AUDIBLE = 0.003  # of full scale, -50 dB: below it nothing was said that could be written down
_TOKENS_A_SECOND = 12  # of a transcript: nobody speaks faster


class Stage(Enum):
    """How far a reply has come."""

    HEARING = auto()
    READING = auto()
    SPEAKING = auto()
    SPOKEN = auto()


@dataclass(frozen=True, slots=True)
class Options:
    """How Mini-Omni runs.

    Attributes:
        slots: replies at once.
        max_reply: seconds that a reply may last.
    """

    slots: int = 4
    max_reply: float = 30.0


class Reply:
    """Asks for passes of the language model, and makes chunks of what comes of them.

    Attributes:
        slot: its place in the batch.
        hearing: what the encoder makes of the question.
        pace: when its sound goes out.
        voice: makes sound of its frames.
        latents: codes that wait for the voice, of each latent those of three levels.
    """

    def __init__(
        self,
        slot: int,
        hearing: Hearing,
        runtime: Runtime,
        tokenizer: Tokenizer,
        options: Options,
        pace: Pace,
    ) -> None:
        self.slot = slot
        self.hearing = hearing
        self.pace = pace
        # Of a frame, three latents are known a step before the fourth. So the voice is given three of it
        # with the fourth of the frame before: of the first frame, with one that is no sound.
        self.voice = SnacStream(runtime.snac, SeededNoise(0), start=-1)
        self.latents: list[tuple[int, ...]] = [(0, 0, 0)]
        self._frames = 0  # all of whose latents were known
        self._row = ROWS * slot
        self._runtime = runtime
        self._vocabulary = Vocabulary.of(runtime.shape)
        self._stage = Stage.HEARING
        self._prompt = speech_prompt(self._vocabulary, hearing.count)
        self._start = self._prompt.shape[1]  # of the question, the prompt's last position
        self._read = 0  # positions of the prompt
        self._steps = min(
            round(options.max_reply / FRAME_SECONDS) + CODEBOOKS,
            runtime.shape.positions - self._start,
        )
        self._spoken = SpokenReply(self._vocabulary, self._steps - CODEBOOKS)
        self._words = _Words(tokenizer)
        self._captions = Captions()
        self._transcript = _Transcript(self._vocabulary, tokenizer, hearing.samples)
        self._asked: list[Span] = []
        self._sound: list[Samples] = []

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        if self._stage is Stage.HEARING and self.hearing.features is not None:
            self._stage = Stage.READING
        return self._stage

    @property
    def is_over(self) -> bool:
        """Nothing is left to be said or known."""
        return self.stage is Stage.SPOKEN and not self._sound and self._transcript.is_told

    def ask(self, *, transcribe: bool, positions: int = PIECE) -> list[Span]:
        """What it wants of the next pass. `take` is to be called with what came.

        Args:
            transcribe: there is time for the user's words.
            positions: of the prompt that there is time for, if it is still to be read.
        """
        self._asked = []
        if self.stage is Stage.READING:
            piece = self._prompt[:, self._read : self._read + positions]
            self._asked.append(Span(self._row, self._read, piece, self.hearing.features))
        elif self.stage is Stage.SPEAKING:
            self._asked += self._next_of_reply()
        if transcribe and not self._transcript.is_known:
            self._asked.append(self._next_of_transcript())
        return self._asked

    def take(self, tokens: Sequence[Tokens]) -> None:
        """What came, a token for each span that was asked for."""
        audio: tuple[int, ...] = ()
        text: int | None = None
        for span, token in zip(self._asked, tokens, strict=True):
            if span.row == self._row + 2:
                self._transcript.take(token.text)
            elif self.stage is Stage.READING:
                self._read += span.length
            else:
                audio, text = audio or token.audio, token.text
        if audio:
            self._say(audio, text)
        elif self.stage is Stage.READING and self._read == self._start:
            self._runtime.fork(self._row, self._row + 1, self._start)
            self._stage = Stage.SPEAKING

    def rest(self) -> list[tuple[int, ...]]:
        """What the voice has still to be given when no frame comes any more."""
        self.voice.end(LATENTS * self._frames)
        count = LATENTS * self.voice.tail
        return [*self.latents, *[(0, 0, 0)] * count][:count]

    def end(self) -> None:
        """All was said."""
        self._stage = Stage.SPOKEN

    def add(self, sound: Samples) -> None:
        """What the voice has made of frames."""
        if len(sound):
            self._sound.append(sound)
            self.pace.make(len(sound) / REPLY_RATE)

    @property
    def has_ended(self) -> bool:
        """No frame will come any more."""
        return self.stage is Stage.SPEAKING and (
            self._spoken.ended or len(self._spoken.text) >= self._steps
        )

    def chunk(self, now: float) -> ReplyChunk:
        """What can go out now; an empty chunk if nothing can."""
        last = self.stage is Stage.SPOKEN
        audio, seconds = None, 0.0
        if self._sound and (last or not self.pace.is_held):
            audio = concatenate((AudioChunk(s, REPLY_RATE) for s in self._sound), REPLY_RATE)
            seconds = audio.duration
            self._sound.clear()
            self.pace.let_out(now)
        words = self._captions.take(seconds, last=last) if audio or last else ""
        return ReplyChunk(audio, words, self._transcript.tell())

    def _next_of_reply(self) -> list[Span]:
        """Its voice, and its text while that lasts."""
        step = self._start + len(self._spoken.text)
        if self._spoken.text:
            says, writes = self._spoken.audio_input, self._spoken.text_input
        else:
            says, writes = (question(self._vocabulary, task) for task in (Task.A1A2, Task.A1T2))
        spans = [Span(self._row, step, says, audio=True)]
        if not self._spoken.text_ended:
            spans.append(Span(self._row + 1, step, writes, text=True))
        return spans

    def _next_of_transcript(self) -> Span:
        transcript = self._transcript.reply.text
        if not transcript:
            self._runtime.fork(self._row, self._row + 2, self._start)
            ids = question(self._vocabulary, Task.A1T1)
        else:
            ids = self._transcript.reply.text_input
        return Span(self._row + 2, self._start + len(transcript), ids, text=True)

    def _say(self, audio: tuple[int, ...], text: int | None) -> None:
        self._spoken.take(audio, text)
        if not self._spoken.ended:
            self._captions.write(self._words.of(self._spoken.text[-1]))
            frames = self._spoken.frames()
            self._frames += len(frames)
            self.latents += self._spoken.latents(frames)


class _Transcript:
    """The user's words, as the model itself has heard them."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: Tokenizer, utterance: Samples) -> None:
        self.reply = WrittenReply(vocabulary)
        self.is_known = np.abs(utterance).max(initial=0) < _AUDIBLE
        self.is_told = False
        self._words = _Words(tokenizer)
        self._text = ""
        self._longest = 8 + round(_TOKENS_A_SECOND * len(utterance) / INPUT_RATE)

    def take(self, token: int | None) -> None:
        assert token is not None
        self.reply.take(token)
        if not self.reply.ended:
            self._text += self._words.of(token)
        self.is_known = self.reply.ended or len(self.reply.text) >= self._longest

    def tell(self) -> str | None:
        """The words, once."""
        if not self.is_known or self.is_told:
            return None
        self.is_told = True
        return self._text.strip()


class _Words:
    """Makes words of tokens, one token after the other."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def of(self, token: int) -> str:
        """What this token adds; special tokens, and those that the tokenizer does not know, add nothing."""
        if self._tokenizer.id_to_token(token) is None:
            return ""
        return self._stream.step(self._tokenizer, token) or ""
