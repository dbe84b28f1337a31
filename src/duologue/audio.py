"""Sound inside the program: float32, mono, -1..1. PCM16, WAV and MP3 exist only at the edges."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import lameenc
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from duologue.errors import InvalidAudio

INPUT_RATE = 16_000
"""Hertz of everything heard: what Silero, pocketsphinx and Whisper take."""

REPLY_RATE = 24_000
"""Hertz of everything said: the Realtime API's rate, and SNAC's."""

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """PCM of any length.

    Attributes:
        samples: float32 [T], mono, -1..1. Not to be written to.
        rate: hertz.
    """

    samples: Samples
    rate: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate

    def at(self, rate: int) -> "AudioChunk":
        """The same sound at `rate` hertz. For a whole sound; a stream takes a `Downsampler`."""
        if rate == self.rate or not len(self.samples):
            return AudioChunk(self.samples, rate)
        return AudioChunk(soxr.resample(self.samples, self.rate, rate).astype(np.float32), rate)

    def between(self, start: float, end: float) -> "AudioChunk":
        """The part from `start` to `end` seconds, without a copy."""
        first, last = (max(0, round(t * self.rate)) for t in (start, end))
        return AudioChunk(self.samples[first:last], self.rate)

    def pcm16(self) -> bytes:
        """Little-endian 16-bit samples; what exceeds full scale is clipped, never wrapped."""
        return (np.clip(self.samples, -1, 1) * 32767).astype("<i2").tobytes()


def silence(seconds: float, rate: int) -> AudioChunk:
    """A chunk of zeros."""
    return AudioChunk(np.zeros(round(seconds * rate), np.float32), rate)


def from_pcm16(data: bytes, rate: int) -> AudioChunk:
    """Read little-endian 16-bit mono samples.

    Raises:
        InvalidAudio: an odd number of bytes, which would shift all that follows by half a sample.
    """
    if len(data) % 2:
        raise InvalidAudio(
            f"PCM16 has two bytes a sample, but {len(data)} bytes came; send whole samples"
        )
    return AudioChunk(np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768), rate)


def concatenate(chunks: Iterable[AudioChunk], rate: int) -> AudioChunk:
    """Join chunks that are all at `rate` hertz; none at all give an empty chunk."""
    parts = [chunk.samples for chunk in chunks]
    return AudioChunk(np.concatenate(parts) if parts else np.zeros(0, np.float32), rate)


class Downsampler:
    """Takes a stream from 24 to 16 kHz, chunk by chunk, without clicks at the joints and 1 ms late.

    soxr holds back 11 to 42 ms of a stream, by quality, which is most of what the way from the
    microphone to the end of a turn costs here. This is a linear-phase filter at 48 kHz of which only
    the products that matter are computed: 25 us for 40 ms of sound.
    """

    def __init__(self) -> None:
        self._past = np.zeros(len(_EVEN) - 1, np.float32)  # what the filter still needs

    def push(self, chunk: AudioChunk) -> AudioChunk:
        """The stream at `INPUT_RATE`, as far as it is known."""
        if chunk.rate != REPLY_RATE:
            raise InvalidAudio(f"expected {REPLY_RATE} Hz, got {chunk.rate} Hz")
        samples = np.concatenate((self._past, chunk.samples))
        steps = (len(samples) - len(_EVEN) + 1) // 3  # of three samples in, two out
        self._past = samples[3 * steps :]
        if not steps:
            return AudioChunk(np.zeros(0, np.float32), INPUT_RATE)
        out = np.empty(2 * steps, np.float32)
        samples = samples[: 3 * steps + len(_EVEN) - 1]
        out[0::2] = np.convolve(samples, _EVEN, "valid")[0::3]
        out[1::2] = np.convolve(samples, _ODD, "valid")[2::3]
        return AudioChunk(out, INPUT_RATE)


def _low_pass() -> Samples:
    """A filter at 48 kHz: flat to 6.8 kHz, -60 dB from 8.2 kHz."""
    taps = 127  # so that the delay, 63 samples, is a whole number of samples at 16 kHz
    time = np.arange(taps) - (taps - 1) / 2
    ideal = np.sinc(2 * 7_500 / 48_000 * time) * np.kaiser(taps, 5.65)
    return np.asarray(2 * ideal / ideal.sum(), np.float32)


# The taps that meet a sample at even and at odd positions of the output; the others meet a zero.
_EVEN, _ODD = _low_pass()[0::2], _low_pass()[1::2]


def read_audio(source: Path | bytes) -> AudioChunk:
    """Read a sound file (WAV, FLAC, OGG, MP3) as mono at its own rate; channels are averaged.

    Raises:
        InvalidAudio: no such file, no sound in it, or samples that are not numbers.
    """
    name = str(source) if isinstance(source, Path) else "the data"
    try:
        samples, rate = soundfile.read(
            io.BytesIO(source) if isinstance(source, bytes) else source,
            dtype="float32",
            always_2d=True,
        )
    except OSError as error:  # soundfile's own errors are RuntimeErrors; this is the file's
        raise InvalidAudio(f"{name} cannot be read: {error}") from error
    except soundfile.SoundFileError as error:
        if isinstance(source, Path) and not source.is_file():
            raise InvalidAudio(f"there is no file {name}") from error
        raise InvalidAudio(
            f"{name} is no sound file that can be read (WAV, FLAC, OGG, MP3)"
        ) from error
    if not len(samples):
        raise InvalidAudio(f"{name} holds no sound: 0 samples")
    if not np.isfinite(samples).all():
        raise InvalidAudio(f"{name} holds samples that are not numbers (NaN or infinity)")
    return AudioChunk(samples.mean(axis=1, dtype=np.float32), int(rate))


def to_wav(chunk: AudioChunk) -> bytes:
    """A 16-bit WAV file."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(chunk.samples, -1, 1), chunk.rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def to_mp3(chunk: AudioChunk) -> bytes:
    """One MP3 file of the whole chunk, 64 kbit/s (files encoded in parts click at every joint)."""
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(1)
    encoder.set_in_sample_rate(chunk.rate)
    encoder.set_bit_rate(64)
    encoder.set_quality(5)
    return bytes(encoder.encode(chunk.pcm16()) + encoder.flush())
