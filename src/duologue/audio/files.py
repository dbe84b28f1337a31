"""Sound files, read so that no file can hurt this process.

Plain WAV is read here: numpy alone does it, in a millisecond, and it is what programs send. All else
goes through libsndfile and FFmpeg, whose faults strangers' bytes find: those run in a process of
their own (`sound_child`), with limits of time and memory.
"""

import logging
import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, cast

import numpy as np

from duologue.audio import AudioChunk
from duologue.audio.blocks import MOST_SAMPLES, mono, plain_wav
from duologue.errors import AudioTooLong, InvalidAudio, ReaderUnavailable
from duologue.system.cpus import ONE_THREAD

_log = logging.getLogger(__name__)

REQUEST = struct.Struct("<QIId")
"""To the child: bytes of the file, bytes of its name, hertz wanted or 0, the limit in seconds."""

ANSWER = struct.Struct("<cIQ")
"""From the child: how it went, hertz, bytes that follow: float32 samples, or a sentence."""

READY, SOUND, INVALID, TOO_LONG, FAULT = b"r", b"s", b"i", b"l", b"f"
"""How it went; a fault is one of the child's own program."""

_CHILD = "duologue.audio.child"

_PATIENCE = 60.0  # seconds to start; a cold disk and a busy machine were seen to need 5

_SLACK = 4  # seconds on the clock for one of work: a busy machine is no fault of the file

_BY_OTHERS = (-9, -15)  # SIGKILL, SIGTERM: somebody, or a machine that has no memory left

_OUT_OF_TIME = -24  # SIGXCPU: the limit that the child has set itself


def read_audio(
    source: Path | bytes, limit: float = math.inf, rate: int | None = None
) -> AudioChunk:
    """Read a sound file as mono.

    WAV, FLAC, OGG, MP3, AIFF; with the package `av` also MP4 (M4A, MOV), WebM, AAC, AMR and what else
    phones, cameras and browsers record. The file decides nothing else: no playlist is followed, no
    other file or URL opened, and no more than `limit` is ever decoded. For what becomes of several
    channels, see `mono`. What is no plain WAV costs a process, half a second.

    Args:
        source: the file, or what is in it.
        limit: seconds.
        rate: hertz; the file's own if it is not given.

    Raises:
        InvalidAudio: no such file, or no sound in it that can be read.
        AudioTooLong: it holds more than `limit`.
        ReaderUnavailable: this machine cannot run the process now.
    """
    name, data = _contents(source)
    sound = read_plain_wav(data, limit, rate, name)
    if sound is not None:
        return sound
    reader = SoundReader()
    try:
        return reader.read(data, limit, rate, name)
    finally:
        reader.close()


def read_plain_wav(
    data: bytes, limit: float = math.inf, rate: int | None = None, name: str = "the data"
) -> AudioChunk | None:
    """As `read_audio`, but None for what is no plain WAV: at once, and without a process."""
    blocks = plain_wav(data, limit, name)
    if blocks is None:
        return None
    sound = mono(blocks, limit, name)
    return sound.at(rate) if rate else sound


def seconds_for(limit: float) -> int:
    """How many seconds of a processor a file may cost that may hold `limit` seconds.

    Usual ones take 1/300 to 1/30 of their length, and a slow machine ten times as long.
    """
    return math.ceil(4 + min(limit, 3600) / 10)


class _Died(Exception):
    """The process ended without an answer.

    Attributes:
        code: as `Popen.returncode` has it.
        too_late: its time was over.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
        self.too_late = False


class SoundReader:
    """A process that decodes one sound file after the other.

    It starts at the first file, stays for the next, and is replaced when it breaks down. It ends with
    this process, however that ends. `close` may be called from any thread.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._starting = threading.Lock()  # no process begins after `close` has looked for it
        self._reading = threading.Lock()  # nobody closes a pipe that somebody reads

    def read(
        self, data: bytes, limit: float = math.inf, rate: int | None = None, name: str = "the data"
    ) -> AudioChunk:
        """As `read_audio`; blocks."""
        with self._reading:
            while True:
                if self._process and self._process.poll() is not None:
                    self._end()  # nobody's fault that is here now
                fresh = self._process is None
                process = self._process or self._start()
                try:
                    return _ask(process, data, limit, rate, name)
                except _Died as death:
                    self._end()
                    if self._closed:
                        raise _shutting_down() from death
                    _log.warning(
                        "the process that reads sound files ended, with code %d", death.code
                    )
                    # What an earlier file has broken, or somebody ended, is not this file's fault.
                    if fresh or death.code == _OUT_OF_TIME:
                        raise _blame(death, name) from death

    def close(self) -> None:
        """End the process, in the middle of a file, too."""
        with self._starting:
            self._closed = True
            process = self._process
        if process:
            process.kill()
        with self._reading:
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        hidden = {key: text for key, text in os.environ.items() if not key.startswith("DUOLOGUE_")}
        with self._starting:
            if self._closed:
                raise _shutting_down()
            try:
                process = subprocess.Popen(  # noqa: S603  its arguments are ours
                    (sys.executable, "-m", _CHILD),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,  # the decoders' remarks on strangers' files
                    # It knows no keys.
                    env={**hidden, **ONE_THREAD},
                )
            except OSError as error:
                raise ReaderUnavailable(
                    f"no process to read sound files could be started: {error.strerror}; "
                    "try again later"
                ) from error
            self._process = process
        try:
            with _deadline(process, _PATIENCE):
                _expect(process, cast(IO[bytes], process.stdout).read(ANSWER.size), ANSWER.size)
        except _Died as death:
            self._end()
            raise ReaderUnavailable(
                f"the process that reads sound files did not start (exit code {death.code}); "
                "try again later"
            ) from death
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what was not taken any more
                    cast(IO[bytes], pipe).close()


def _shutting_down() -> ReaderUnavailable:
    return ReaderUnavailable("the server is shutting down and reads no more sound files")


class SoundReaders:
    """A few `SoundReader`s with threads of their own; more files wait, first come, first served.

    Whatever a file costs, it costs nobody who waits for something else.
    """

    def __init__(self, count: int = 2) -> None:
        self._readers = [SoundReader() for _ in range(count)]
        self._free: SimpleQueue[SoundReader] = SimpleQueue()
        for reader in self._readers:
            self._free.put(reader)
        self._threads = ThreadPoolExecutor(count, "sound-reader")

    def read(self, data: bytes, limit: float, rate: int) -> "Future[AudioChunk]":
        """As `SoundReader.read`, soon; who cancels it before its turn takes no time of others."""
        return self._threads.submit(self._read, data, limit, rate)

    def close(self) -> None:
        """End the processes, in the middle of a file, too."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for reader in self._readers:
            reader.close()
        self._threads.shutdown()

    def _read(self, data: bytes, limit: float, rate: int) -> AudioChunk:
        reader = self._free.get()
        try:
            return reader.read(data, limit, rate)
        finally:
            self._free.put(reader)


def _contents(source: Path | bytes) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        return "the data", source
    name = str(source)
    try:
        return name, source.read_bytes()
    except FileNotFoundError as error:
        raise InvalidAudio(f"there is no file {name}") from error
    except OSError as error:
        raise InvalidAudio(f"{name} cannot be read: {error.strerror}") from error


def _ask(
    process: subprocess.Popen[bytes], data: bytes, limit: float, rate: int | None, name: str
) -> AudioChunk:
    """Let the process read one file.

    Raises:
        _Died: it did not live to answer.
    """
    called = name.encode(errors="replace")
    stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    with _deadline(process, _SLACK * seconds_for(limit)):
        try:
            stdin.write(REQUEST.pack(len(data), len(called), rate or 0, limit) + called)
            stdin.write(data)
            stdin.flush()
        except BrokenPipeError:
            pass  # what it said before, or how it died, is read below
        head = _expect(process, stdout.read(ANSWER.size), ANSWER.size)
        kind, found, size = ANSWER.unpack(head)
        most = int(4 * MOST_SAMPLES * (1 + min(limit, 1e6)))
        answer = _expect(process, stdout.read(min(size, most)), size)
    if kind == SOUND:
        samples = np.frombuffer(answer, np.float32).copy()  # which may be written to
        return AudioChunk(samples, found)
    sentence = answer.decode(errors="replace")
    if kind == FAULT:
        _log.warning("a sound file could not be read: %s", sentence)
        raise InvalidAudio(f"{name} cannot be read: the decoder does not understand it")
    raise AudioTooLong(sentence) if kind == TOO_LONG else InvalidAudio(sentence)


@contextmanager
def _deadline(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    """End the process when it has not answered in time; who waits for its answer then gets none."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError as error:
        raise ReaderUnavailable(
            "this machine has no thread left to read sound files; try again later"
        ) from error
    try:
        yield
    except _Died as death:
        death.too_late = late.is_set()
        raise
    finally:
        timer.cancel()


def _expect(process: subprocess.Popen[bytes], data: bytes, size: int) -> bytes:
    if len(data) == size:
        return data
    try:
        code = process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    raise _Died(code)


def _blame(death: _Died, name: str) -> InvalidAudio | ReaderUnavailable:
    if death.code == _OUT_OF_TIME:
        return InvalidAudio(f"{name} takes too long to decode; send WAV, FLAC, OGG or MP3")
    if death.too_late or death.code in _BY_OTHERS:
        return ReaderUnavailable(
            "the process that reads sound files was ended or did not answer; try again later"
        )
    return InvalidAudio(f"{name} cannot be read: it is broken in a way that no decoder survives")
