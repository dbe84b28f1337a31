"""Sound in the formats of the line: what goes in comes out, whatever the pieces."""

import numpy as np
import pytest

from duologue.audio import INPUT_RATE, REPLY_RATE, AudioChunk, LineFormat, Samples
from duologue.errors import InvalidAudio
from duologue.transports.realtime.formats import Reader, Writer, bytes_of, rate_of, read

FORMATS: list[LineFormat] = ["pcm24", "pcm16", "pcmu", "pcma"]


def sweep(rate: int, seconds: float = 1.0) -> AudioChunk:
    """From 200 Hz to 3 kHz, and silence at its end: what comes late is not missed."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (200 * time + (3_000 - 200) / (2 * seconds) * time**2)
    fade = np.clip((seconds - 0.01 - time) / 0.02, 0, 1)
    return AudioChunk((0.5 * fade * np.sin(phase)).astype(np.float32), rate)


def likeness(one: Samples, other: Samples) -> float:
    """How near they are, in decibels, wherever the one begins in the other, between samples, too."""
    size = max(len(one), len(other))
    spectra = np.fft.rfft(one, 2 * size), np.fft.rfft(other, 2 * size)
    best = 16 * np.fft.irfft(spectra[0] * np.conj(spectra[1]), 32 * size).max()
    share = best / np.sqrt((one**2).sum() * (other**2).sum())
    return float(-10 * np.log10(max(1e-9, 1 - share**2)))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("piece", [1.0, 0.0313])
def test_a_reply_is_written_and_read_as_it_was(form: LineFormat, piece: float) -> None:
    reply, writer = sweep(REPLY_RATE), Writer(form)
    parts = [writer.push(reply.between(at, at + piece)) for at in np.arange(0, 1, piece)]
    data = b"".join(parts)
    assert len(data) == pytest.approx(bytes_of(form), abs=0.004 * bytes_of(form))
    back = read(data, form)
    assert back.rate == rate_of(form)
    assert likeness(back.at(REPLY_RATE).samples, reply.samples) > 25


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("piece", [1.0, 0.0313])
def test_what_is_said_is_heard_as_it_was(form: LineFormat, piece: float) -> None:
    said = sweep(rate_of(form))
    reader = Reader(form)
    parts = [reader.push(said.between(at, at + piece)) for at in np.arange(0, 1, piece)]
    assert {part.rate for part in parts} == {INPUT_RATE}
    heard = np.concatenate([part.samples for part in parts])
    assert len(heard) == pytest.approx(INPUT_RATE, abs=64)
    assert likeness(heard, sweep(INPUT_RATE).samples) > 30


@pytest.mark.parametrize("form", ["pcmu", "pcma"])
def test_g711_is_the_standards(form: LineFormat) -> None:
    # ITU-T G.711: full scale, silence and the signs; A-law toggles every other bit.
    full = {"pcmu": (0x80, 0x00), "pcma": (0xAA, 0x2A)}[form]
    loudest = read(bytes(full), form).samples
    assert loudest[0] > 0.9
    assert loudest[1] < -0.9
    quiet = {"pcmu": 0xFF, "pcma": 0xD5}[form]
    assert abs(float(read(bytes([quiet]), form).samples[0])) < 1e-3


def test_what_is_no_sound_gets_a_sentence() -> None:
    with pytest.raises(InvalidAudio, match="audio is empty"):
        read(b"", "pcmu")
    with pytest.raises(InvalidAudio, match="two bytes a sample"):
        read(b"abc", "pcm16")
