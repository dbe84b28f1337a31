"""The process that decodes sound files, and what becomes of a file that hurts it."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from duologue.audio.files import SoundReader, SoundReaders, read_audio
from duologue.errors import AudioTooLong, DuologueError, InvalidAudio, ReaderUnavailable
from duologue.testing import tone
from made_files import file

FLAC = file(tone(1, 48_000), "FLAC")


@pytest.fixture
def reader() -> Iterator[SoundReader]:
    reader = SoundReader()
    yield reader
    reader.close()
    assert children() == []


@pytest.fixture
def hurt(monkeypatch: pytest.MonkeyPatch, reader: SoundReader) -> SoundReader:
    """A reader whose "files" are words: what they do to its process."""
    monkeypatch.setattr("duologue.audio.files._CHILD", "attacks.hurt_child")
    # Or on a busy machine what never ends is ended by the clock first, and that is the machine's fault.
    monkeypatch.setattr("duologue.audio.files._SLACK", 100)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    return reader


def children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if any("audio.child" in part or "hurt_child" in part for part in child.cmdline())
    ]


def test_one_process_reads_file_after_file(reader: SoundReader) -> None:
    for rate in (None, 16_000):
        sound = reader.read(FLAC, 30, rate)
        assert sound.rate == (rate or 48_000)
        assert sound.duration == pytest.approx(1, abs=0.001)
    with pytest.raises(InvalidAudio, match=r"^memo\.amr is no sound file that can be read"):
        reader.read(b"no sound", 30, name="memo.amr")
    (first,) = children()
    with pytest.raises(AudioTooLong, match=r"^the data holds more than 0\.5 s"):
        reader.read(FLAC, 0.5)
    assert children() == [first]


@pytest.mark.parametrize(
    ("file", "error", "sentence"),
    [
        (b"crash", InvalidAudio, "broken in a way that no decoder survives"),
        (b"work for ever", InvalidAudio, "too long to decode"),
        (b"take all memory", InvalidAudio, "too much memory"),
        (b"be unforeseen", InvalidAudio, "does not understand"),
        (b"be ended", ReaderUnavailable, "was ended"),
    ],
)
def test_a_file_that_hurts_the_process_gets_a_sentence_and_the_next_is_read(
    hurt: SoundReader,
    file: bytes,
    error: type[DuologueError],
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(error, match=sentence):
        hurt.read(file)
    assert len(caplog.messages) == (file != b"take all memory"), "whoever runs the server is told"
    assert hurt.read(b"be good").duration == pytest.approx(0.1)


def test_a_process_that_hangs_is_replaced(
    hurt: SoundReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("duologue.audio.files._SLACK", 0.1)
        with pytest.raises(ReaderUnavailable, match="did not answer"):
            hurt.read(b"hang", 0)
    assert hurt.read(b"be good").duration == pytest.approx(0.1)


@pytest.mark.usefixtures("hurt")
def test_a_film_that_no_decoder_survives_ends_no_command() -> None:
    with pytest.raises(InvalidAudio, match="no decoder survives"):
        read_audio(b"crash")
    assert children() == []


def test_what_an_earlier_file_has_broken_is_not_blamed_on_the_next(hurt: SoundReader) -> None:
    hurt.read(b"crash the next")
    (broken,) = children()
    assert hurt.read(b"be good").duration == pytest.approx(0.1)
    assert children() != [broken]


def test_a_process_that_died_while_nobody_needed_it_is_replaced(reader: SoundReader) -> None:
    reader.read(FLAC)
    (child,) = children()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert reader.read(FLAC).duration == pytest.approx(1)


def test_want_of_descriptors_is_not_called_the_fault_of_the_file(
    reader: SoundReader,
) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))  # all below are in use
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(ReaderUnavailable, match="Too many open files; try again later"):
            reader.read(FLAC)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert reader.read(FLAC).duration == pytest.approx(1)


def test_the_process_knows_no_secret_of_the_server(
    reader: SoundReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_API_KEY", "open-sesame")
    reader.read(FLAC)
    (child,) = children()
    assert "open-sesame" not in str(child.environ())


def test_a_reader_that_is_closed_lets_go_of_its_file(hurt: SoundReader) -> None:
    errors: list[Exception] = []

    def read() -> None:
        try:
            hurt.read(b"hang")
        except ReaderUnavailable as error:
            errors.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    while not children():
        pass
    hurt.close()
    reading.join()
    assert len(errors) == 1


def test_files_that_hang_leave_a_third_one_waiting_and_no_process_behind(
    monkeypatch: pytest.MonkeyPatch, hurt: SoundReader
) -> None:
    readers = SoundReaders(2)
    hanging = [readers.read(b"hang", 30, 16_000) for _ in range(2)]
    waiting = readers.read(b"be good", 30, 16_000)
    assert waiting.cancel(), "its turn has not come"
    readers.close()
    for future in hanging:
        assert isinstance(future.exception(), ReaderUnavailable)
