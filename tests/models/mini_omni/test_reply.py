"""One reply, with tokens given by hand."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from tokenizers import Tokenizer

from duologue.audio import INPUT_RATE, AudioChunk
from duologue.conversation.prompt import Prompt
from duologue.models.mini_omni.checkpoint import TOKENIZER, Checkpoint
from duologue.models.mini_omni.hearing import Hearing
from duologue.models.mini_omni.nets.shapes import CODEBOOKS
from duologue.models.mini_omni.pace import Pace
from duologue.models.mini_omni.reply import Options, Reply, Stage
from duologue.models.mini_omni.runtime import Tokens
from duologue.models.mini_omni.torch_runtime import open_torch
from duologue.models.mini_omni.vocabulary import Vocabulary

WORD = 7  # a token of text


def begin(tiny: Checkpoint, seconds: float) -> Reply:
    """A reply whose question was heard."""
    runtime = open_torch(tiny, device="cpu", precision="fp32", rows=3, pool=True)
    tokenizer = Tokenizer.from_file(str(tiny.folder / TOKENIZER))
    utterance = np.full(round(seconds * INPUT_RATE), 0.1, np.float32)
    hearing = Hearing(Prompt(AudioChunk(utterance, INPUT_RATE)))
    made = Reply(0, hearing, runtime, tokenizer, Options(), Pace(9.0, 30.0, 0.0))
    hearing.features = np.zeros((hearing.count, tiny.language_model.width), np.float32)
    return made


@pytest.fixture
def reply(tiny: Checkpoint) -> Reply:
    """A reply whose question was read."""
    made = begin(tiny, 0.1)
    while made.stage is not Stage.SPEAKING:
        made.take([Tokens((), None) for _ in made.ask(transcribe=False)])
    return made


def go_on(reply: Reply, audio: tuple[int, ...], text: int) -> list[bool]:
    """One step; tells of each row that was asked for whether it was to speak."""
    asked = reply.ask(transcribe=False)
    reply.take([Tokens(audio if span.audio else (), text if span.text else None) for span in asked])
    return [span.audio for span in asked]


def test_the_row_of_the_text_is_dropped_when_the_text_has_ended(reply: Reply) -> None:
    vocabulary = Vocabulary.of(reply._runtime.shape)
    sound = (1,) * CODEBOOKS
    assert go_on(reply, sound, WORD) == [True, False]
    assert go_on(reply, sound, vocabulary.end_of_text) == [True, False]
    assert go_on(reply, sound, WORD) == [True]
    assert go_on(reply, sound, WORD) == [True]


def test_a_reply_that_ends_before_its_first_sound_still_has_its_words(reply: Reply) -> None:
    vocabulary = Vocabulary.of(reply._runtime.shape)
    go_on(reply, (1,) * CODEBOOKS, WORD)
    go_on(reply, (vocabulary.end_of_audio,) * CODEBOOKS, WORD)
    assert reply.has_ended
    assert reply.rest() == []
    reply.end()
    chunk = reply.chunk(0.0)
    assert chunk.audio is None
    assert chunk.text


def test_the_user_s_words_are_asked_for_beside_the_reply_and_told_once(reply: Reply) -> None:
    vocabulary = Vocabulary.of(reply._runtime.shape)
    for token in (WORD, WORD, vocabulary.end_of_text):
        asked = reply.ask(transcribe=True)
        assert [span.audio for span in asked] == [True, False, False]
        assert len({span.row for span in asked}) == 3
        reply.take([Tokens((1,) * 7, 9), Tokens((), 9), Tokens((), token)])
    assert len(reply.ask(transcribe=True)) == 2
    told = reply.chunk(0.0).user_text
    assert told
    assert len(told.split()) == 2
    assert reply.chunk(0.0).user_text is None


def test_a_transcript_that_never_ends_is_cut(reply: Reply) -> None:
    for _ in range(12):
        asked = reply.ask(transcribe=True)
        reply.take([Tokens((1,) * 7 if span.audio else (), WORD) for span in asked])
    told = reply.chunk(0.0).user_text
    assert told is not None
    assert len(told.split()) == 9  # 8, and 12 a second for a tenth of one


def test_of_a_question_as_much_is_read_at_once_as_there_is_time_for(tiny: Checkpoint) -> None:
    for positions, lengths in ((2048, [168]), (128, [128, 40]), (64, [64, 64, 40])):
        made = begin(tiny, 3.3)
        for length in lengths:
            assert made.stage is Stage.READING
            (span,) = made.ask(transcribe=False, positions=positions)
            assert span.length == length
            made.take([Tokens((), None)])
        assert made.stage is Stage.SPEAKING
