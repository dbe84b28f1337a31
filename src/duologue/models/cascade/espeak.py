"""Words to sound: espeak-ng."""

import asyncio
import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

import espeakng_loader
import numpy as np

from duologue.audio import REPLY_RATE, AudioChunk, Samples
from duologue.errors import InvalidSetting, ModelUnavailable
from duologue.models.cascade.clauses import speakable

# Names and numbers of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS, and so on
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_RATE = 1
_IPA = 0x02 | 0x80 | ord("^") << 8  # with a tie between the letters of one phoneme

_USUAL = "en-us"

_BUFFER = 200  # ms of sound for each call back into Python
_WORDS_A_MINUTE = 165  # its default, 175, is hard to follow

_LONGEST_PATH = 159  # bytes: it cuts what is longer, without a word
_OPEN_FILES = "/proc/self/fd"  # Linux: every open folder has a short path there

_SEED = (
    1  # of the breath in its sounds, and not the time of day: what went well once goes well again
)

_LOUDNESS = 0.6  # of full scale, the peak: -4.4 dB
_QUIET = 0.02  # of full scale, below it the edges of a clause count as silence
_EDGE = 0.01  # seconds of silence that stay, so that soft consonants are not cut

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class _Voice(ctypes.Structure):
    """espeak_VOICE: `languages` is a byte of priority and a language, again and again, and then a zero."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("internal", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class Espeak:
    """Speaks clauses, one after the other, on a thread of its own (the work is done without the GIL)."""

    trouble = ""
    threads = 0
    speed: float

    def __init__(self, voice: str = "", speed: float = 1.0) -> None:
        """Speak with a voice of espeak-ng, such as en-us, en-gb, de or en-us+f3.

        Args:
            voice: "": the one of the language that is spoken, en-us for English.
            speed: 1 is usual.

        Raises:
            InvalidSetting: there is no such voice.
            ModelUnavailable: espeak-ng cannot be loaded.
        """
        self._voice, self.speed = voice, speed
        _espeak().speak("", voice or _USUAL, speed)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="espeak")

    @property
    def name(self) -> str:
        """What it is."""
        return f"espeak-ng {self._voice or _USUAL} (here)"

    @property
    def voices(self) -> tuple[str, ...]:
        """One for each language that it speaks."""
        usual = self._voice or _USUAL
        return usual, *sorted(_espeak().languages.keys() - {usual})

    def for_reply(self) -> "contextlib.nullcontext[Espeak]":
        """It is quick enough for all."""
        return contextlib.nullcontext(self)

    async def start(self) -> None:
        """Nothing to load."""

    async def speak(
        self, words: str, language: str = "", voice: str = "", speed: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        """The sound of a clause at `REPLY_RATE`, without silence around it; none where it has no words.

        Raises:
            InvalidSetting: there is no such voice.
        """
        voice = (
            voice or self._voice or (language if language != "en" and speaks(language) else _USUAL)
        )
        sound = await asyncio.get_running_loop().run_in_executor(
            self._thread, _sound, speakable(words), voice, speed or self.speed
        )
        if len(sound.samples):
            yield sound

    async def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


def speaks(language: str) -> bool:
    """Whether there is a voice for a language, such as de or pt-br.

    Raises:
        ModelUnavailable: espeak-ng cannot be loaded.
    """
    return language in _espeak().languages


def phonemes(words: str, voice: str) -> str:
    """How a voice would say some words: the International Phonetic Alphabet, `^` inside a phoneme of two.

    Raises:
        InvalidSetting: there is no such voice.
        ModelUnavailable: espeak-ng cannot be loaded.
    """
    return _espeak().phonemes(words, voice)


def _sound(words: str, voice: str, speed: float) -> AudioChunk:
    espeak = _espeak()
    samples = espeak.speak(words, voice, speed)
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
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self.languages = self._list()
        """Names of voices (such as gmw/en) by the language that they speak best (such as en-gb)."""

    def speak(self, words: str, voice: str, speed: float) -> Samples:
        """The sound of some words: float32 [T] at `rate` hertz."""
        text = words.encode(errors="replace") + b"\0"
        with self._lock:
            if voice != self._voice:
                self._choose(voice)
            rate = round(_WORDS_A_MINUTE * speed)
            self._library.espeak_SetParameter(_RATE, rate, 0)
            self._pieces.clear()
            self._library.espeak_ng_SetRandSeed(_SEED)
            self._library.espeak_Synth(
                text, ctypes.c_size_t(len(text)), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
            )
            sound = b"".join(self._pieces)
        return np.frombuffer(sound, np.int16).astype(np.float32) / np.float32(32768)

    def phonemes(self, words: str, voice: str) -> str:
        """The phonemes of some words, clause by clause, with a space between."""
        buffer = ctypes.create_string_buffer(words.encode(errors="replace"))
        text = ctypes.c_void_p(ctypes.addressof(buffer))
        clauses = []
        with self._lock:
            if voice != self._voice:
                self._choose(voice)
            while text.value is not None:  # it moves on, clause by clause, and is none at the end
                found = self._library.espeak_TextToPhonemes(ctypes.byref(text), _CHARS_UTF8, _IPA)
                clauses.append((found or b"").decode(errors="replace"))
        return " ".join(clauses).strip()

    def _choose(self, voice: str) -> None:
        self._voice = ""
        name, plus, variant = voice.partition("+")
        known = self.languages.get(name.lower(), name) + plus + variant
        if self._library.espeak_SetVoiceByName(known.encode(errors="replace")):
            raise InvalidSetting(f"espeak-ng has no voice {voice!r}; take one like en-us or en-gb")
        self._voice = voice

    def _list(self) -> dict[str, str]:
        best: dict[str, tuple[int, str]] = {}
        voices = self._library.espeak_ListVoices(None)
        number = 0
        while voices[number]:
            voice = voices[number].contents
            at, number = voice.languages, number + 1
            while priority := ctypes.string_at(at, 1)[0]:
                language = ctypes.string_at(at + 1)
                at += 1 + len(language) + 1
                found = (priority, voice.identifier.decode())
                best[language.decode()] = min(best.get(language.decode(), found), found)
        return {language: identifier for language, (_, identifier) in best.items()}

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
