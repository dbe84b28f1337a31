"""Sound as it goes over the line: PCM16 at 24 or 16 kHz, G.711 at 8 kHz; each way its own."""

import io

import numpy as np
import soundfile

from duologue.audio import (
    INPUT_RATE,
    REPLY_RATE,
    AudioChunk,
    Downsampler,
    LineFormat,
    Samples,
    from_pcm16,
)
from duologue.errors import InvalidAudio

_LAWS: dict[LineFormat, str] = {"pcmu": "ULAW", "pcma": "ALAW"}
_PHONE = 8_000  # hertz of G.711


def rate_of(form: LineFormat) -> int:
    """Hertz."""
    return {"pcm24": REPLY_RATE, "pcm16": INPUT_RATE}.get(form, _PHONE)


def bytes_of(form: LineFormat) -> int:
    """Bytes that a second has."""
    return rate_of(form) * (1 if form in _LAWS else 2)


def check(data: bytes | bytearray, form: LineFormat) -> None:
    """See whether these bytes are sound.

    Raises:
        InvalidAudio: they are none.
    """
    if not data:
        raise InvalidAudio("audio is empty; send at least one sample")
    if form not in _LAWS and len(data) % 2:
        raise InvalidAudio(
            f"PCM16 has two bytes a sample, but {len(data)} bytes came; send whole samples"
        )


def read(data: bytes, form: LineFormat) -> AudioChunk:
    """Bytes as sound, at the format's own rate.

    Raises:
        InvalidAudio: they are none.
    """
    check(data, form)
    if form not in _LAWS:
        return from_pcm16(data, rate_of(form))
    samples, _ = soundfile.read(
        io.BytesIO(data),
        dtype="float32",
        samplerate=_PHONE,
        channels=1,
        format="RAW",
        subtype=_LAWS[form],
    )
    return AudioChunk(samples, _PHONE)


class Reader:
    """Takes a stream of such sound to `INPUT_RATE`, piece by piece, without clicks at the joints."""

    def __init__(self, form: LineFormat) -> None:
        self.format = form
        self._down = Downsampler()
        self._up = _HalfBand()

    def push(self, chunk: AudioChunk) -> AudioChunk:
        """The stream at `INPUT_RATE`, as far as it is known.

        Args:
            chunk: at the rate of the format.
        """
        if self.format == "pcm24":
            return self._down.push(chunk)
        if self.format == "pcm16":
            return chunk
        twice = np.zeros(2 * len(chunk.samples), np.float32)
        twice[::2] = 2 * chunk.samples
        return AudioChunk(self._up.push(twice), INPUT_RATE)


class Writer:
    """Takes a stream at `REPLY_RATE` to bytes of such sound."""

    def __init__(self, form: LineFormat) -> None:
        self.format = form
        self._down = Downsampler()
        self._half = _HalfBand()
        self._odd = False  # of the samples at 16 kHz, the next one is left out

    def push(self, chunk: AudioChunk) -> bytes:
        """As many bytes as are known by now; up to 2 ms come with the next piece."""
        if self.format == "pcm24":
            return chunk.pcm16()
        chunk = self._down.push(chunk)
        if self.format == "pcm16":
            return chunk.pcm16()
        samples = self._half.push(chunk.samples)
        start = int(self._odd)
        self._odd = bool((len(samples) - start) % 2)
        file = io.BytesIO()
        soundfile.write(
            file,
            np.clip(samples[start::2], -1, 1),
            _PHONE,
            format="RAW",
            subtype=_LAWS[self.format],
        )
        return file.getvalue()


class _HalfBand:
    """A filter at 16 kHz that leaves what is below 3.6 kHz, 2 ms late."""

    def __init__(self) -> None:
        self._past = np.zeros(len(_TAPS) - 1, np.float32)

    def push(self, samples: Samples) -> Samples:
        """As many samples as come in."""
        samples = np.concatenate((self._past, samples))
        self._past = samples[len(samples) - len(_TAPS) + 1 :]
        if len(samples) < len(_TAPS):
            return np.zeros(0, np.float32)
        return np.convolve(samples, _TAPS, "valid").astype(np.float32)


def _taps() -> Samples:
    count = 63
    time = np.arange(count) - (count - 1) / 2
    ideal = np.sinc(2 * 3_800 / INPUT_RATE * time) * np.kaiser(count, 5.65)
    return np.asarray(ideal / ideal.sum(), np.float32)


_TAPS = _taps()
