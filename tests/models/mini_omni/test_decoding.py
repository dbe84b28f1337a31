from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from duologue.models.mini_omni.decoding import SpokenReply, WrittenReply
from duologue.models.mini_omni.nets.shapes import CODEBOOKS
from duologue.models.mini_omni.nets.snac_stream import by_latent
from duologue.models.mini_omni.vocabulary import Vocabulary
from models.mini_omni.nets.generate import vectors

SMALL, FULL = Vocabulary(512, 192), Vocabulary()
CODE = st.integers(0, SMALL.audio_size - 1)


def _golden(name: str, key: str) -> NDArray[np.int64]:
    return vectors(name)[key].numpy()


def _reply(vocabulary: Vocabulary, tokens: NDArray[np.int64]) -> SpokenReply:
    """A reply that has taken tokens [8, N]."""
    reply = SpokenReply(vocabulary)
    for *audio, text in tokens.T.tolist():
        reply.take(audio, text)
    return reply


def _sound(frames: NDArray[np.int64], codes: int) -> NDArray[np.int64]:
    """Frames [N, 7] in which what is no code is the code of the frame before, or 0."""
    sound, last = [], np.zeros(CODEBOOKS, np.int64)
    for frame in frames:
        last = np.where(frame < codes, frame, last)
        sound.append(last)
    return np.array(sound)


def _layered(frames: Sequence[Sequence[int]], vocabulary: Vocabulary) -> SpokenReply:
    """A reply of which these are the frames, each layer as late as it is; padding elsewhere."""
    tokens = np.full((8, len(frames) + CODEBOOKS), vocabulary.pad_audio)
    tokens[7] = 0
    for number, frame in enumerate(frames):
        for layer, code in enumerate(frame):
            tokens[layer, number + layer + 1] = code
    return _reply(vocabulary, tokens)


@pytest.mark.parametrize("mode", ["batch", "stop_eot", "stop_eoa"])
def test_the_frames_are_the_original_s_with_the_last_code_where_it_has_none(mode: str) -> None:
    frames = _reply(SMALL, _golden("small", f"{mode}_tokens")).frames()
    right = _golden("small", f"{mode}_snac_frames")
    assert (right >= SMALL.codes).any()
    np.testing.assert_array_equal(frames, _sound(right, SMALL.codes))


@pytest.mark.shared
@pytest.mark.parametrize("stride", [3, 4])
def test_frames_come_when_the_original_streams_them_and_are_the_same(stride: int) -> None:
    reply, frames = SpokenReply(FULL), []
    tokens = _golden("full", f"stream{stride}_tokens")
    groups = _golden("full", f"stream{stride}_groups").reshape(-1, CODEBOOKS)
    index = _golden("full", f"stream{stride}_index")
    for step, (*audio, text) in enumerate(tokens.T.tolist()):
        reply.take(audio, text)
        frames += reply.frames()
        assert len(frames) // stride == (index <= step).sum()
    np.testing.assert_array_equal(frames[: len(groups)], _sound(groups, FULL.codes))


def test_text_ends_with_its_end_and_is_padding_from_then_on() -> None:
    class StopsEarly(Vocabulary):
        """With the end that the golden reply was given."""

        end_of_text = 222
        pad_text = SMALL.pad_text

    tokens = _golden("small", "stop_eot_tokens").copy()
    end = tokens[7].tolist().index(222)
    right = tokens[7].tolist()
    tokens[7, end + 1 :] = 5  # whatever the network says behind it
    reply = SpokenReply(StopsEarly(512, 192))
    for step, (*audio, text) in enumerate(tokens.T.tolist()):
        reply.take(audio, None if step == end + 3 else text)
        assert reply.text_ended == (step >= end)
    assert reply.text == right
    assert not reply.ended


def test_the_end_of_the_seventh_layer_ends_the_reply_and_is_no_part_of_it() -> None:
    tokens = _golden("small", "stop_eoa_tokens")
    reply = _reply(SMALL, tokens)
    assert not reply.ended
    reply.take([*tokens[:6, 0].tolist(), SMALL.end_of_audio], 5)
    assert reply.ended
    assert len(reply.audio) == len(reply.text) == tokens.shape[1]


def test_the_first_step_ends_nothing() -> None:
    reply = SpokenReply(SMALL)
    reply.take([SMALL.end_of_audio] * CODEBOOKS, SMALL.end_of_text)
    assert not reply.ended
    assert not reply.text_ended


def test_the_next_input_is_what_was_said_shifted_to_each_layer_and_the_text() -> None:
    reply = SpokenReply(FULL)
    reply.take(range(CODEBOOKS), 42)
    said = [FULL.text_size + layer * FULL.audio_size + layer for layer in range(CODEBOOKS)]
    assert reply.audio_input.T.tolist() == [[*said, 42]]
    silent = [FULL.text_size + layer * FULL.audio_size + 4097 for layer in range(CODEBOOKS)]
    assert reply.text_input.T.tolist() == [[*silent, 42]]


def test_what_is_no_code_repeats_the_last_of_its_layer() -> None:
    pad, end = SMALL.pad_audio, SMALL.end_of_audio
    frames = [(pad, 1, 2, 3, 4, 5, 6), (7, pad, end, end, end, 12, 191), (8,) * 7]
    sound = [(0, 1, 2, 3, 4, 5, 6), (7, 1, 2, 3, 4, 12, 6), (8,) * 7]
    assert _layered(frames, SMALL).frames() == sound


def test_a_frame_of_which_most_layers_say_the_end_is_the_end() -> None:
    end = SMALL.end_of_audio
    reply = _layered([(1,) * 7, (end,) * 4 + (2,) * 3, (3,) * 7], SMALL)
    assert not reply.ended
    assert reply.frames() == [(1,) * 7]
    assert reply.ended
    assert reply.frames() == []


@given(st.lists(st.tuples(*[CODE] * CODEBOOKS), max_size=40), st.data())
def test_frames_hold_codes_only_and_come_once_whenever_they_are_taken(
    audio: list[tuple[int, ...]], data: st.DataObject
) -> None:
    reply, once, frames = SpokenReply(SMALL), SpokenReply(SMALL), []
    for tokens in audio:
        if not reply.ended:
            reply.take(tokens, 5)
            once.take(tokens, 5)
            if data.draw(st.booleans()):
                frames += reply.frames()
    frames += reply.frames()
    assert all(0 <= code < SMALL.codes for frame in frames for code in frame)
    count = max(0, len(reply.audio) - CODEBOOKS)
    assert len(frames) <= count
    if not reply.ended:
        assert len(frames) == count
    assert frames == once.frames()


@given(st.lists(st.tuples(*[st.integers(0, SMALL.audio_size - 1)] * CODEBOOKS), max_size=40))
def test_latents_come_early_each_once_and_are_those_of_the_frames(
    audio: list[tuple[int, ...]],
) -> None:
    reply, frames, latents = SpokenReply(SMALL, longest=9), list[tuple[int, ...]](), []
    for number, tokens in enumerate(audio, 1):
        if reply.ended:
            break
        reply.take(tokens, 5)
        new = reply.frames()[: 9 - len(frames)]
        frames += new
        latents += reply.latents(new)
        right = by_latent(np.array(frames, np.int64).reshape(-1, CODEBOOKS).T[None])[0].tolist()
        assert [list(latent) for latent in latents[: len(right)]] == right
        assert len(latents) - len(right) in (0, 3)
        if not reply.ended and number >= CODEBOOKS and len(frames) < 9:
            ends = [reply.audio[len(frames) + 1 + n][n] for n in range(6)].count(SMALL.end_of_audio)
            assert (len(latents) - len(right) == 3) == (ends < 3)


def test_three_latents_of_the_first_frame_are_known_a_step_before_it() -> None:
    reply = SpokenReply(SMALL)
    for step in range(9):
        reply.take([10 * step + layer for layer in range(CODEBOOKS)], 5)
        frames = reply.frames()
        latents = reply.latents(frames)
        assert len(frames) == (step >= 7)
        if step < 6:
            assert latents == []
        elif step == 6:  # layer n of frame 0 came in step n + 1
            assert latents == [(10, 21, 32), (10, 21, 43), (10, 54, 65)]
        elif step == 7:
            assert latents == [(10, 54, 76), (20, 31, 42), (20, 31, 53), (20, 64, 75)]


def test_a_written_reply_ends_with_the_end_of_text_which_is_no_part_of_it() -> None:
    reply = WrittenReply(FULL)
    for token in (3, 4):
        reply.take(token)
        assert not reply.ended
        assert reply.text_input[-1, 0] == token
    reply.take(FULL.end_of_text)
    assert reply.ended
    assert reply.text == [3, 4]
