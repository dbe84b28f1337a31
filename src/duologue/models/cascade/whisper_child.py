"""The recogniser's process: reads utterances, writes what Whisper makes of them.

Arguments: the folder of the weights, the number of threads. In: 4 bytes (little-endian) that count a
header, the header as JSON (`bytes` of sound; `language`; `detect`: another one may be spoken; `likely`: a
text with words that are), then PCM16 at 16 kHz. Out: JSON in a line,
`{"segments": [[start, end, words], …], "language": "en", "score": mean log probability of a token,
"doubtful": false}`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import tokenizers

from duologue.audio.log_mel import BINS, HOP, log_mel
from duologue.models.cascade import transcript
from duologue.system import child

RATE = 16_000
"""Hertz of what it hears."""

_SHORTEST = 600  # mel frames of a window; in shorter ones it loops more often
_BEHIND = 100  # mel frames behind the sound, at least: it hears from them that the words have ended
_LONGEST = 3000  # mel frames: what it was trained on
_STEP = 200  # mel frames: windows of few sizes, for the memory is got anew for each
# The loudest that it hears, a little more than in recordings near a microphone. As it came, it took 13
# words of 96 wrongly where they were 20 dB softer; at 1.2 to 1.5, an accent now and then.
_LOUDEST = 1.7
_BEAM = 3  # on recorded speech as good as 5, and 20 % less work
# Probability of a language that is believed, from which on the one before is doubted, and with which others
# are tried then. English with an accent was "Chinese" with 0.6 and English with 0.2, but its words were
# likelier in English. French of a robot had 0.7.
_SURE, _LIKELY, _POSSIBLE = 0.95, 0.5, 0.2
# Mean log probability of a token from which what it hears with likely words in mind is believed; else it
# hears without. Words that were none of the likely ones and became one had -0.77 and less, of 242.
_BELIEVED = -0.7
_DEAD = "<|la|>"  # Latin: what nobody speaks is often taken for it
_LIKELIEST = 200  # tokens of likely words: it was trained with 223 at most
_TOKENS = 12  # in a second of speech, at most; and so many in any case
_FIRST = 50  # timestamp tokens: the first word begins within a second


class Whisper:
    """The network, for one utterance at a time."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._network = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", intra_threads=threads, inter_threads=1
        )
        self._tokens = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._start = self._token("startoftranscript")
        self._first_timestamp = self._token("notimestamps") + 1

    def transcribe(
        self, samples: Any, language: str, *, detect: bool = False, likely: str = ""
    ) -> dict[str, Any]:
        """What is said, float32 [T] at 16 kHz, up to 29 s."""
        encoded = self._encode(samples)
        seconds = len(samples) / RATE
        if not self._network.is_multilingual:
            return self._best(encoded, "en", seconds, likely)
        tried = [language]
        if detect:
            (found,) = self._network.detect_language(encoded)
            chances = {name.strip("<|>"): chance for name, chance in found if name != _DEAD}
            (other, chance), *_ = chances.items()  # the likeliest first
            if chance >= _SURE:
                tried = [other]
            elif chance >= _LIKELY and other != language:
                possible = [name for name in chances if chances[name] >= _POSSIBLE]
                tried += [name for name in possible if name != language]
        answers = [self._best(encoded, name, seconds, likely) for name in tried]
        return max(answers, key=lambda answer: answer["score"])

    def _best(self, encoded: Any, language: str, seconds: float, likely: str) -> dict[str, Any]:
        """What is heard with the likely words in mind, where that is sure; else without."""
        if likely:
            answer = self._words(encoded, language, seconds, likely)
            if answer["segments"] and answer["score"] >= _BELIEVED:
                said = [[*times, transcript.single(words)] for *times, words in answer["segments"]]
                return {**answer, "segments": said}
        return self._words(encoded, language, seconds)

    def _words(
        self, encoded: Any, language: str, seconds: float, likely: str = ""
    ) -> dict[str, Any]:
        prompt = [self._start]
        if likely:  # as if they had been said before
            said = self._tokens.encode(f" {likely}", add_special_tokens=False).ids
            prompt = [self._token("startofprev"), *said[:_LIKELIEST], *prompt]
        if self._network.is_multilingual:
            prompt += [self._token(language), self._token("transcribe")]
        (result,) = self._network.generate(
            encoded,
            [prompt],
            beam_size=_BEAM,
            max_length=len(prompt) + round(_TOKENS * (1 + seconds)),
            max_initial_timestamp_index=_FIRST,
            return_scores=True,
            return_no_speech_prob=True,
        )
        found = transcript.segments(
            result.sequences_ids[0], self._first_timestamp, self._tokens.decode
        )
        score, nothing = float(result.scores[0]), float(result.no_speech_prob)
        kept = transcript.plausible(found, seconds, score, nothing)
        return {
            "segments": [[segment.start, segment.end, segment.words] for segment in kept],
            "language": language,
            "score": score,
            "doubtful": transcript.doubtful(found, score, nothing),
        }

    def _encode(self, samples: Any) -> Any:
        heard = len(samples) // HOP
        frames = -(-max(_SHORTEST, heard + _BEHIND) // _STEP) * _STEP
        # Behind the sound are zeros, which are no silence: with the log-mel of silence it hears worse.
        mel = np.zeros((1, BINS, min(frames, _LONGEST)), np.float32)
        if heard >= 3:
            seen = log_mel(samples, heard)[:, : mel.shape[2]]
            mel[0, :, :heard] = seen + (_LOUDEST - seen.max())
        return self._network.encode(ctranslate2.StorageView.from_array(mel))

    def _token(self, name: str) -> int:
        token: int = self._tokens.token_to_id(f"<|{name}|>") or 0
        return token


def main() -> None:
    """Transcribe until standard input ends."""
    child.behave()
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    whisper = Whisper(folder, threads)
    noise = np.random.default_rng(0).normal(0, 0.01, 4 * RATE).astype(np.float32)
    whisper.transcribe(noise, "en")
    # By the time that is computed: the other parts start at the same time, and others may be busy, too.
    begun = time.process_time()
    whisper.transcribe(noise, "en")
    child.tell((time.process_time() - begun) / threads)
    while count := sys.stdin.buffer.read(4):
        header = json.loads(sys.stdin.buffer.read(int.from_bytes(count, "little")))
        pcm = np.frombuffer(sys.stdin.buffer.read(header["bytes"]), "<i2")
        samples = pcm.astype(np.float32) / 32768
        wanted = {name: header[name] for name in ("language", "detect", "likely")}
        child.tell(whisper.transcribe(samples, **wanted))


if __name__ == "__main__":
    main()
