"""Words to sound: espeak-ng."""

import asyncio
import ctypes
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import espeakng_loader
import numpy as np

from duologue.audio import REPLY_RATE, AudioChunk, Samples
from duologue.errors import InvalidSetting, ModelUnavailable

_SYNCHRONOUS = (
    2  # AUDIO_OUTPUT_SYNCHRONOUS, and so on: names and numbers of espeak-ng's speak_lib.h
)
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_RATE = 1

_BUFFER = 200  # ms of sound for each call back into Python
_WORDS_A_MINUTE = 165  # its default, 175, is hard to follow

_LONGEST_PATH = 159  # bytes: it cuts what is longer, without a word
_OPEN_FILES = "/proc/self/fd"  # Linux: every open folder has a short path there

_LOUDNESS = 0.6  # of full scale, the peak: -4.4 dB
_QUIET = 0.02  # of full scale, below it the edges of a clause count as silence
_EDGE = 0.01  # seconds of silence that stay, so that soft consonants are not cut

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Synthesiser:
    """Speaks clauses, one after the other, on a thread of its own (the work is done without the GIL)."""

    def __init__(self, voice: str) -> None:
        """Raises InvalidSetting where there is no such voice, ModelUnavailable without espeak-ng."""
        self._voice = voice
        _espeak().speak("", voice)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="espeak")

    async def speak(self, words: str) -> AudioChunk:
        """The sound of a clause at `REPLY_RATE`, without silence around it."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, _sound, words, self._voice
        )

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


def _sound(words: str, voice: str) -> AudioChunk:
    espeak = _espeak()
    samples = espeak.speak(words, voice)
    loud = np.flatnonzero(np.abs(samples) > _QUIET)
    if not len(loud):
        return AudioChunk(np.zeros(0, np.float32), REPLY_RATE)
    edge = round(_EDGE * espeak.rate)
    samples = samples[max(0, loud[0] - edge) : loud[-1] + edge]
    samples = samples * np.float32(_LOUDNESS / np.abs(samples).max())
    return AudioChunk(samples, espeak.rate).at(REPLY_RATE)


class _Espeak:
    """The library: one for the whole process, with one voice and one sentence at a time."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
            data = _short(espeakng_loader.get_data_path())
        except (OSError, RuntimeError) as error:
            raise ModelUnavailable(f"espeak-ng cannot be loaded: {error}") from error
        self.rate = self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER, data, _DONT_EXIT)
        if self.rate <= 0:
            raise ModelUnavailable("espeak-ng cannot be loaded: it does not find its data")
        self._lock = threading.Lock()
        self._pieces: list[bytes] = []
        self._voice = ""
        self._callback = _Callback(self._hear)  # kept: the library holds no reference that counts
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, words: str, voice: str) -> Samples:
        """The sound of some words: float32 [T] at `rate` hertz."""
        text = words.encode(errors="replace") + b"\0"
        with self._lock:
            if voice != self._voice:
                self._choose(voice)
            self._pieces.clear()
            self._library.espeak_Synth(
                text, ctypes.c_size_t(len(text)), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
            )
            sound = b"".join(self._pieces)
        return np.frombuffer(sound, np.int16).astype(np.float32) / np.float32(32768)

    def _choose(self, voice: str) -> None:
        self._voice = ""
        if self._library.espeak_SetVoiceByName(voice.encode(errors="replace")):
            raise InvalidSetting(f"espeak-ng has no voice {voice!r}; take one like en-us or en-gb")
        self._library.espeak_SetParameter(_RATE, _WORDS_A_MINUTE, 0)
        self._voice = voice

    def _hear(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: int) -> int:
        if samples and count > 0:
            self._pieces.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on


def _short(path: str) -> bytes:
    """A path to a folder that espeak-ng can keep. The folder stays open: files are read when needed."""
    data = os.fsencode(path)
    if len(data) <= _LONGEST_PATH:
        return data
    if os.path.isdir(_OPEN_FILES):
        return os.fsencode(f"{_OPEN_FILES}/{os.open(path, os.O_RDONLY)}")
    raise ModelUnavailable(
        f"espeak-ng takes a path of {_LONGEST_PATH} bytes for its data, and {path} has {len(data)}; "
        "move this installation to a folder with a shorter name"
    )


@functools.cache
def _espeak() -> _Espeak:
    return _Espeak()
