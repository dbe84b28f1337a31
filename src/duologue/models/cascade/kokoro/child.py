"""The synthesiser's process: words to phonemes, phonemes to sound.

Arguments: the file of the network, the folder of the dictionaries, the file of a voice, the number of
threads. Its greeting is how many seconds a second of speech takes. In, JSON in a line: `{"words": …,
"language": "en-us"}`, out `{"pieces": [phonemes, …]}`; or `{"phonemes": …, "voice": file, "speed": 1}`,
out `{"pcm": …}`: 16 bits at 24 kHz in base64, without silence around it.
"""

import base64
import functools
import json
import sys
import time
from pathlib import Path

import numpy as np

from duologue.audio import AudioChunk, Samples
from duologue.models.cascade import espeak
from duologue.models.cascade.kokoro.network import RATE, Kokoro, pieces, read_voice
from duologue.models.cascade.kokoro.phonemes import Phonemes, foreign
from duologue.models.cascade.kokoro.spoken import spoken
from duologue.system import child

_LONGEST = 80  # phonemes, about 5 s: others wait for no more than that, and it fits into 550 MB
_GAIN = 1.6  # its voices are softer than what else one hears on a computer
_PEAK = 0.9  # of full scale
_QUIET = 0.01  # of full scale: the edges of a clause below it are silence
_EDGE = 240  # samples of it that stay, so that soft consonants are not cut
_TRIAL = "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˌOvəɹ ðə lˈAzi dˈɔɡ"


class Speaker:
    """The network, the dictionaries and the voices."""

    def __init__(self, network: Path, dictionaries: Path, threads: int) -> None:
        self._network = Kokoro(network, threads)
        self._dictionaries = dictionaries
        self._english = functools.cache(self._load)
        self._voice = functools.lru_cache(8)(read_voice)

    def phonemes(self, words: str, language: str) -> list[str]:
        """What is said, in pieces; a language other than en-us and en-gb as espeak-ng says it."""
        if language in ("en-us", "en-gb"):
            return list(pieces(self._english(language).of(spoken(words)), _LONGEST))
        said = foreign(words, lambda part: espeak.phonemes(part, language))
        return list(pieces(said, _LONGEST))

    def sound(self, phonemes: str, voice: str, speed: float) -> Samples:
        """Float32 [T] at `RATE`; the silence around it is taken off."""
        sound = self._network.speak(phonemes, self._voice(Path(voice)), speed) * np.float32(_GAIN)
        loud = np.flatnonzero(np.abs(sound) > _QUIET)
        if not len(loud):
            return np.zeros(0, np.float32)
        sound = sound[max(0, loud[0] - _EDGE) : loud[-1] + _EDGE]
        return sound * np.float32(min(1.0, _PEAK / np.abs(sound).max()))

    def _load(self, language: str) -> Phonemes:
        return Phonemes.load(
            self._dictionaries,
            lambda word: espeak.phonemes(word, language),
            british=language == "en-gb",
        )


def main() -> None:
    """Answer until standard input ends."""
    child.behave()
    network, dictionaries, voice, threads = sys.argv[1:]
    speaker = Speaker(Path(network), Path(dictionaries), int(threads))
    speaker.phonemes("Ready.", "en-us")
    speaker.sound(_TRIAL, voice, 1.0)
    # By the time that is computed: the other parts start at the same time, and others may be busy, too.
    begun = time.process_time()
    sound = speaker.sound(_TRIAL, voice, 1.0)
    child.tell((time.process_time() - begun) / int(threads) / (len(sound) / RATE))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "words" in request:
            child.tell({"pieces": speaker.phonemes(request["words"], request["language"])})
        else:
            sound = speaker.sound(request["phonemes"], request["voice"], request["speed"])
            pcm = AudioChunk(sound, RATE).pcm16()
            child.tell({"pcm": base64.b64encode(pcm).decode()})


if __name__ == "__main__":
    main()
