"""Sound inside the program: float32, mono, -1..1. PCM16, WAV and MP3 exist only at the edges."""

import binascii
import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import lameenc
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from duologue.errors import InvalidAudio, quoted

INPUT_RATE = 16_000
"""Hertz of everything heard: what Silero, Smart Turn and Whisper take."""

REPLY_RATE = 24_000
"""Hertz of everything said: the Realtime API's rate, and SNAC's."""

Samples = NDArray[np.float32]

LineFormat = Literal["pcm24", "pcm16", "pcmu", "pcma"]
"""Sound on a line: PCM16 at 24 and at 16 kHz, and both laws of G.711 at 8 kHz."""


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


_SLICE = 256 * 1024  # characters: half a millisecond, for which Python's lock is held

_ALPHABET = bytes.maketrans(b"-_", b"+/")  # that of URLs to the usual one


def unbase64(text: str) -> bytes:
    """Read base64 as programs write it: plain or for URLs, in lines, without padding, a `data:` URL.

    Works in slices, between which others may run.

    Raises:
        InvalidAudio: it is none.
    """
    start = 0
    if text[:5].lower() == "data:":
        start = text.find(",", 0, 1000) + 1
        if not text[:start].lower().endswith(";base64,"):
            raise InvalidAudio(
                f"a data: URL has its sound as base64, as in data:audio/wav;base64,AAAA; not {quoted(text)}"
            )
    parts, rest, ended = [], b"", False
    try:
        for at in range(start, len(text), _SLICE):
            signs = text[at : at + _SLICE].encode("ascii").translate(_ALPHABET, b" \t\r\n")
            if ended and signs:
                raise ValueError("padding in the middle")  # noqa: TRY301
            signs = rest + signs
            whole = len(signs) - len(signs) % 4
            ended = b"=" in signs
            parts.append(binascii.a2b_base64(signs[:whole], strict_mode=True))
            rest = signs[whole:]
        parts.append(binascii.a2b_base64(rest + b"=" * (-len(rest) % 4), strict_mode=True))
    except ValueError as error:
        raise InvalidAudio(f"audio is not valid base64: {error}") from error
    return b"".join(parts)


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


def to_wav(chunk: AudioChunk) -> bytes:
    """A 16-bit WAV file."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(chunk.samples, -1, 1), chunk.rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def to_mp3(chunk: AudioChunk) -> bytes:
    """One MP3 file of the whole chunk (files encoded in parts click at every joint)."""
    stream = Mp3Stream(chunk.rate)
    return stream.push(chunk) + stream.end()


class PcmStream:
    """Writes sound as it comes, chunk by chunk: PCM16 without a header.

    Attributes:
        head: what stands in front of it all.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.head = b""

    def push(self, chunk: AudioChunk) -> bytes:
        """As much as can be written by now; perhaps nothing."""
        return chunk.pcm16()

    def end(self) -> bytes:
        """The rest."""
        return b""


class WavStream(PcmStream):
    """A 16-bit WAV file whose length nobody knows yet: its header gives the largest there is."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate)
        most = 0xFFFFFFFF  # what ffmpeg writes into a pipe; players read on to the end
        form = (16, 1, 1, rate, 2 * rate, 2, 16)  # size of this part, PCM, mono, bytes/s, bits
        self.head = struct.pack(
            "<4sI4s4sIHHIIHH4sI", b"RIFF", most, b"WAVE", b"fmt ", *form, b"data", most
        )


class Mp3Stream(PcmStream):
    """An MP3 file of 64 kbit/s. A second of sound takes 2 ms."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate)
        self._encoder = lameenc.Encoder()
        self._encoder.silence()
        self._encoder.set_channels(1)
        self._encoder.set_in_sample_rate(rate)
        self._encoder.set_bit_rate(64)
        self._encoder.set_quality(5)
        self._begun = False

    def push(self, chunk: AudioChunk) -> bytes:
        """As much as can be written by now; the first frame of a speech model gives some."""
        self._begun = True
        return bytes(self._encoder.encode(chunk.pcm16()))

    def end(self) -> bytes:
        """The rest."""
        return bytes(self._encoder.flush()) if self._begun else b""
