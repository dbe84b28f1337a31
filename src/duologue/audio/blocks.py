"""What a sound file may hold, and how its channels become one; plain WAV, which needs no decoder.

Only numpy works here: what comes from strangers may be read in the server itself.
"""

import math
import struct
from collections.abc import Generator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from duologue.audio import AudioChunk, Samples
from duologue.errors import AudioTooLong, InvalidAudio

Blocks = Generator[tuple[int, Samples], None, None]
"""A file as it is decoded: hertz, float32 [T, channels]."""

BLOCK = 1 << 16
"""Frames decoded at once: what a small file that holds hours can cost."""

MOST_CHANNELS = 8
"""7.1, the most that a camera records."""

_RATES = range(1_000, 400_001)  # hertz; a header may say anything, and rules how much is decoded

MOST_SAMPLES = 400_000
"""A second, of all channels together: eight at 48 kHz, two at 192 kHz."""


def check_format(rate: int, channels: int, name: str) -> None:
    """Refuse what no recorder writes, before any of it is decoded.

    Raises:
        InvalidAudio: so many channels or samples a second that little data would cost much.
    """
    if rate not in _RATES:
        raise InvalidAudio(
            f"{name} has {rate} samples a second; from {_RATES[0]} to {_RATES[-1]} can be read"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise InvalidAudio(f"{name} has {channels} channels; from 1 to {MOST_CHANNELS} can be read")
    if rate * channels > MOST_SAMPLES:
        raise InvalidAudio(
            f"{name} has {channels} channels of {rate} samples a second; all channels together may "
            f"have {MOST_SAMPLES}"
        )


def check_length(frames: int, rate: int, limit: float, name: str) -> None:
    """Refuse what lasts longer than `limit` seconds.

    Raises:
        AudioTooLong: it does.
    """
    if frames > limit * rate:
        raise AudioTooLong(
            f"{name} holds more than {limit:g} s of sound, which is the most taken here"
        )


def mono(blocks: Blocks, limit: float = math.inf, name: str = "the data") -> AudioChunk:
    """Decode a file to one channel; overshoot is clipped.

    The channels are averaged, and the average is made as loud as the loudest of them: a voice on one
    of two channels stays as it is. Where channels cancel each other, the loudest is taken alone.

    Args:
        blocks: are closed in any case, and asked for no more than `limit`.
        limit: seconds.
        name: what errors call the file.

    Raises:
        InvalidAudio: no sound, a strange format, or samples that are not numbers.
        AudioTooLong: more than `limit`.
    """
    parts: list[Samples] = []
    length, rate = 0, 1
    with closing(blocks):
        for rate, block in blocks:
            check_format(rate, block.shape[1], name)
            if not np.isfinite(block).all():
                raise InvalidAudio(f"{name} holds samples that are not numbers (NaN or infinity)")
            length += len(block)
            check_length(length, rate, limit, name)
            parts.append(np.clip(block, -1, 1))
    if not length:
        raise InvalidAudio(f"{name} holds no sound: 0 samples")
    return AudioChunk(_mix(parts), rate)


def _mix(parts: list[Samples]) -> Samples:
    channels = parts[0].shape[1]
    if channels == 1:
        return np.concatenate(parts)[:, 0]
    energies = sum(np.square(part, dtype=np.float64).sum(axis=0) for part in parts)
    means = [part.mean(axis=1, dtype=np.float32) for part in parts]
    energy = sum(float(np.square(mean, dtype=np.float64).sum()) for mean in means)
    # Channels that know nothing of each other leave their average this much; cancelling ones, less.
    unrelated = float(np.sum(energies)) / channels**2
    if energy < unrelated / 2:
        return np.concatenate([part[:, int(np.argmax(energies))] for part in parts])
    gain = math.sqrt(float(np.max(energies)) / energy) if energy else 1.0
    return np.clip(np.concatenate(means) * np.float32(gain), -1, 1)


_KINDS: dict[tuple[int, int], str] = {  # (format tag, bytes a sample): how numpy calls it
    (1, 1): "u1",
    (1, 2): "<i2",
    (1, 3): "u1",  # there is no integer of three bytes; they are put together below
    (1, 4): "<i4",
    (3, 4): "<f4",
    (3, 8): "<f8",
}

_EXTENSIBLE = 0xFFFE  # the format tag is the first of a longer name

_MOST_CHUNKS = (
    100  # a WAV file has three to ten; a chunk may be empty, so a file could have millions
)


def plain_wav(data: bytes, limit: float = math.inf, name: str = "the data") -> Blocks | None:
    """The sound in a WAV file of plain numbers; None: this is none, or a decoder has to look at it.

    A header that was never finished (a recorder that writes into a pipe, or was ended) says that the
    sound has no or more bytes than there are: the sound goes on to the end of the file.

    Raises:
        InvalidAudio: a strange format.
        AudioTooLong: more than `limit` seconds.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    form: tuple[int, int, int, int] | None = None
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return None
        kind, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if kind == b"fmt " and 16 <= size <= len(data) - at:
            form = _form(data, at, size)
        elif kind == b"data":
            break
        at += size
        # A chunk of odd size is followed by a zero, which some programs forget.
        at += size % 2 and data[at : at + 1] == b"\0"
    else:
        return None
    if form is None or (form[0], form[3]) not in _KINDS:
        return None
    tag, channels, rate, width = form
    unfinished = size == 0 and int.from_bytes(data[4:8], "little") + 8 != len(data)
    size = len(data) - at if unfinished else min(size, len(data) - at)
    check_format(rate, channels, name)
    frames = size // (channels * width)
    check_length(frames, rate, limit, name)
    return _blocks(data, at, frames, (tag, channels, rate, width))


def _form(data: bytes, at: int, size: int) -> tuple[int, int, int, int] | None:
    """Format tag, channels, hertz, bytes a sample; None: they contradict each other."""
    tag, channels, rate, _, align, _ = struct.unpack_from("<HHIIHH", data, at)
    if tag == _EXTENSIBLE and size >= 26:
        (tag,) = struct.unpack_from("<H", data, at + 24)
    if not channels or align % channels:
        return None
    return tag, channels, rate, align // channels


def _blocks(data: bytes, at: int, frames: int, form: tuple[int, int, int, int]) -> Blocks:
    tag, channels, rate, width = form
    dtype = np.dtype(_KINDS[tag, width])
    columns = channels * width // dtype.itemsize
    numbers = np.frombuffer(data, dtype, frames * columns, at).reshape(frames, columns)
    for start in range(0, frames, BLOCK):
        yield rate, _scaled(numbers[start : start + BLOCK], channels, width)


def _scaled(numbers: NDArray[np.generic], channels: int, width: int) -> Samples:
    """Numbers of a file as float32 [T, channels]."""
    if numbers.dtype.kind == "f":
        with np.errstate(over="ignore"):  # to infinity, which is refused
            return numbers.astype(np.float32)
    if width == 1:
        return (numbers.astype(np.float32) - np.float32(128)) / np.float32(128)
    if width == 3:
        whole = np.zeros((len(numbers), channels, 4), np.uint8)
        whole[:, :, 1:] = numbers.reshape(-1, channels, 3)
        numbers = whole.view("<i4")[:, :, 0]
    # Three bytes stand in the upper part of four.
    return numbers.astype(np.float32) / np.float32(1 << (8 * numbers.dtype.itemsize - 1))
