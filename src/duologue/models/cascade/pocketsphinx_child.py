"""The recogniser's process: reads utterances, writes their words.

In: the number of bytes (4, little-endian), then that much PCM16 at 16 kHz. Out: one JSON string.
"""

import sys

from pocketsphinx import Decoder

from duologue import child


def main() -> None:
    """Recognise until standard input ends."""
    child.behave()
    # On recorded questions the same words as with the defaults, at 0.13 of real time instead of 0.3.
    decoder = Decoder(
        samprate=16_000, loglevel="FATAL", cmn="batch", maxhmmpf=3000, maxwpf=5, fwdflat=False
    )
    child.tell("ready")
    while header := sys.stdin.buffer.read(4):
        child.tell(_words(decoder, sys.stdin.buffer.read(int.from_bytes(header, "little"))))


def _words(decoder: Decoder, pcm: bytes) -> str:
    if len(pcm) < 2:
        return ""
    decoder.reinit_feat()  # or the mean of one user's voice would colour the next one's
    decoder.start_utt()
    decoder.process_raw(pcm, False, True)
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found else ""


if __name__ == "__main__":
    main()
