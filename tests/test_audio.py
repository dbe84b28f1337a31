"""Sound at the edges: bytes, files, rates."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from duologue.audio import (
    AudioChunk,
    Resampler,
    concatenate,
    from_pcm16,
    read_audio,
    silence,
    to_mp3,
    to_wav,
)
from duologue.errors import InvalidAudio
from duologue.testing import tone


def write(path: Path, samples: np.ndarray, rate: int, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


@given(st.binary(max_size=400).filter(lambda data: len(data) % 2 == 0))
def test_pcm16_comes_back_to_the_bit_but_for_rounding(data: bytes) -> None:
    there = np.frombuffer(data, "<i2").astype(int)
    back = np.frombuffer(from_pcm16(data, 24_000).pcm16(), "<i2").astype(int)
    assert np.abs(there - back).max(initial=0) <= 1


def test_an_odd_number_of_bytes_is_refused() -> None:
    with pytest.raises(InvalidAudio, match="3 bytes"):
        from_pcm16(b"abc", 24_000)


def test_what_is_too_loud_is_clipped_and_never_wrapped() -> None:
    loud = AudioChunk(np.array([2.0, -2.0], np.float32), 24_000)
    assert np.frombuffer(loud.pcm16(), "<i2").tolist() == [32767, -32767]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_files_of_any_rate_keep_their_length(tmp_path: Path, rate: int) -> None:
    sound = read_audio(write(tmp_path / "a.wav", tone(1, rate).samples, rate))
    assert sound.rate == rate
    assert sound.at(24_000).duration == pytest.approx(1, abs=0.001)


def test_stereo_is_mixed_to_mono(tmp_path: Path) -> None:
    both = np.stack([tone(1).samples, -tone(1).samples], axis=1)
    assert np.abs(read_audio(write(tmp_path / "a.wav", both, 16_000)).samples).max() < 1e-4


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path, "there is no file"),
        (lambda path: (path.write_bytes(b"not a sound"), path)[1], "no sound file"),
        (lambda path: write(path, np.zeros(0), 16_000), "0 samples"),
        (lambda path: write(path, np.array([np.nan]), 16_000, "FLOAT"), "not numbers"),
    ],
)
def test_what_is_no_sound_gets_a_sentence(tmp_path: Path, make: object, sentence: str) -> None:
    assert callable(make)
    with pytest.raises(InvalidAudio, match=sentence):
        read_audio(make(tmp_path / "a.wav"))


def test_resampling_in_pieces_gives_what_resampling_the_whole_gives() -> None:
    whole = tone(2, 24_000)
    resampler = Resampler(24_000, 16_000)
    pieces = [resampler.push(whole.between(t / 25, (t + 1) / 25)) for t in range(50)]
    joined = concatenate(pieces, 16_000).samples
    expected = whole.at(16_000).samples
    assert len(expected) - len(joined) < 16_000 * 0.03
    middle = slice(1_000, len(joined))
    assert np.abs(joined[middle] - expected[middle]).max() < 0.01


def test_a_resampler_refuses_another_rate() -> None:
    with pytest.raises(InvalidAudio, match="24000 Hz, got 8000 Hz"):
        Resampler(24_000, 16_000).push(silence(1, 8_000))


def test_wav_and_mp3_are_one_file_each_of_the_whole_sound() -> None:
    sound = tone(3, 24_000)
    for data, slack in ((to_wav(sound), 0.0), (to_mp3(sound), 0.1)):
        samples, rate = soundfile.read(io.BytesIO(data))
        assert rate == 24_000
        assert len(samples) / rate == pytest.approx(3, abs=slack + 1e-6)


def test_a_part_is_cut_by_seconds() -> None:
    assert tone(2).between(0.5, 1.25).duration == pytest.approx(0.75)
    assert tone(2).between(1.5, 9).duration == pytest.approx(0.5)
