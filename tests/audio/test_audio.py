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
    Downsampler,
    Mp3Stream,
    PcmStream,
    WavStream,
    concatenate,
    from_pcm16,
    silence,
    to_mp3,
    to_wav,
)
from duologue.audio.files import read_audio
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


def sweep(start: float, end: float) -> AudioChunk:
    """Two seconds that go from one frequency to another."""
    time = np.arange(48_000) / 24_000
    phase = 2 * np.pi * (start * time + (end - start) * time**2 / 4)
    return AudioChunk((0.5 * np.sin(phase)).astype(np.float32), 24_000)


def downsample(sound: AudioChunk, step: int) -> np.ndarray:
    downsampler = Downsampler()
    starts = range(0, len(sound.samples), step)
    chunks = (AudioChunk(sound.samples[at : at + step], 24_000) for at in starts)
    return concatenate([downsampler.push(chunk) for chunk in chunks], 16_000).samples


@given(st.integers(1, 3000))
def test_the_size_of_the_chunks_changes_nothing_to_a_sample(step: int) -> None:
    sound = sweep(100, 6_000).between(0, 0.2)
    pieces, whole = downsample(sound, step), downsample(sound, 10**6)
    assert len(pieces) == len(whole)
    assert np.abs(pieces - whole).max() < 1e-5


def test_downsampling_gives_what_soxr_gives_and_is_not_late() -> None:
    sound = sweep(100, 6_000)
    ours, theirs = downsample(sound, 960), sound.at(16_000).samples
    assert len(theirs) - len(ours) < 16  # 1 ms
    late = 21  # samples: 1.3 ms
    assert np.abs(ours[100 + late : 30_000 + late] - theirs[100:30_000]).max() < 0.005


def test_what_16_khz_cannot_hold_is_gone() -> None:
    assert np.abs(downsample(sweep(8_500, 11_900), 960)[200:]).max() < 0.5 * 10 ** (-50 / 20)


def test_a_downsampler_refuses_another_rate() -> None:
    with pytest.raises(InvalidAudio, match="24000 Hz, got 8000 Hz"):
        Downsampler().push(silence(1, 8_000))


def test_wav_and_mp3_are_one_file_each_of_the_whole_sound() -> None:
    sound = tone(3, 24_000)
    for data, slack in ((to_wav(sound), 0.0), (to_mp3(sound), 0.1)):
        samples, rate = soundfile.read(io.BytesIO(data))
        assert rate == 24_000
        assert len(samples) / rate == pytest.approx(3, abs=slack + 1e-6)


def test_a_stream_can_be_read_from_its_first_frame_on_and_at_its_end() -> None:
    sound = tone(2, 24_000)
    pieces = [sound.between(at / 10, (at + 1) / 10) for at in range(20)]
    assert b"".join(map(PcmStream(24_000).push, pieces)) == sound.pcm16()
    for stream, slack in ((WavStream(24_000), 0.0), (Mp3Stream(24_000), 0.15)):
        written = [stream.push(piece) for piece in pieces]
        assert written[0], "the first 100 ms give something"
        samples, rate = soundfile.read(io.BytesIO(stream.head + written[0]))
        assert rate == 24_000
        assert len(samples) > 0
        whole = read_audio(stream.head + b"".join(written) + stream.end())
        assert whole.duration == pytest.approx(2, abs=slack + 1e-6)
        assert np.abs(whole.samples).max() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("kind", [PcmStream, WavStream, Mp3Stream])
def test_a_stream_without_sound_ends(kind: type[PcmStream]) -> None:
    assert kind(24_000).end() == b""


def test_a_part_is_cut_by_seconds() -> None:
    assert tone(2).between(0.5, 1.25).duration == pytest.approx(0.75)
    assert tone(2).between(1.5, 9).duration == pytest.approx(0.5)
