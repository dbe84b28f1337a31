"""How long users wait, and how often they are spoken into.

`python -m bench.turns [FOLDER]`, which is the shared recordings unless given.

Any folder of recordings does that has a turns.jsonl: one line a recording, with `id`, `audio` (a file
beside it), `cls`, `end` (seconds; null: for its pauses only) and `holds` ([start, end] of pauses after
which the speaker goes on).
"""

import argparse
import asyncio
import importlib.util
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from rigs.gate import find_node, open_gate

from bench.turns import barge_in, golden, listener, plot
from bench.turns.figures import BINS, Figures, Judged, judge
from bench.turns.recordings import (
    COMMANDS,
    CONVERSATIONAL,
    Clip,
    Ears,
    lengthened,
    load,
    padded,
    with_babble,
)
from bench.turns.simulate import POLICIES, Duologue, Policy
from duologue import weights
from duologue.audio import INPUT_RATE, Samples
from duologue.settings import Settings

FOLDER = Path(__file__).parents[3] / "shared/audio/turns"
_DRAWS = 1000  # of the bootstrap
_SOON = 0.5  # seconds within which a word stops the reply that is meant to
_OURS = ("quick", "normal", "patient", "normal, no Smart Turn")


def run(policy: Policy, clips: Sequence[Clip], model_time: float, ears: Ears) -> list[Judged]:
    return [judge(clip, policy(clip, model_time, ears)) for clip in clips]


def of(judged: Sequence[Judged], kinds: Sequence[str]) -> list[Judged]:
    return [one for one in judged if one.clip.kind in kinds]


def policies(
    clips: Sequence[Clip], once: Sequence[Clip], ears: Ears
) -> dict[float, dict[str, list[Judged]]]:
    """The table of policies; gives back what it was made of, by model time and policy."""
    shown: dict[float, dict[str, list[Judged]]] = {}
    for model_time, some in ((0.3, once), (0.6, clips), (1.0, once)):
        times = len(some) // len(once)
        print(
            f"\nThe model takes {model_time} s to its first sound. Conversational recordings, "
            f"{times} time{'s' if times > 1 else ''}."
        )
        print(f"{'':32}{'delay, ms':>26}{'missed':>8}{'heard in pauses':>20}{'drops':>7}{'cmd':>5}")
        print(f"{'':32}{'p50 (95 %)':>16}{'p95':>5}{'mean':>5}{'':8}{'% (95 %)':>20}{'/cmd':>7}")
        for name, policy in POLICIES.items():
            judged = run(policy, some, model_time, ears)
            talk = Figures.of(of(judged, CONVERSATIONAL), _DRAWS)
            _row(name, talk, Figures.of(of(judged, COMMANDS)))
            shown.setdefault(model_time, {})[name] = judged
    return shown


def _row(name: str, figures: Figures, commands: Figures) -> None:
    p50 = "{:.0f} ({:.0f}-{:.0f})".format(figures.p50, *figures.p50_interval)
    heard = "{:.1f} ({:.1f}-{:.1f})".format(figures.heard, *figures.heard_interval)
    print(
        f"{name:32}{p50:>16}{figures.p95:5.0f}{figures.mean:5.0f}{figures.missed:8d}"
        f"{heard:>20}{commands.drops:7.2f}{commands.heard:5.1f}"
    )


def by_kind(judged: Sequence[Judged]) -> None:
    print("\nBy kind of recording, normal, 0.6 s")
    heads = "".join(f"{f'{low:g}-{high:g} s':>13}" for low, high in BINS)
    print(f"{'':12}{'ends':>6}{'p50':>6}{'p95':>6}{'drops':>7}{'heard':>8}{heads}")
    kinds = sorted({one.clip.kind for one in judged})
    for kind in [*kinds, "half 1", "half 2"]:
        some = [one for one in judged if one.clip.kind in CONVERSATIONAL]
        if kind.startswith(
            "half"
        ):  # the constants were chosen on all of them: how do halves differ?
            some = [one for one in some if _half(one.clip) == kind]
        else:
            some = of(judged, [kind])
        figures = Figures.of(some)
        bins = "".join(
            f"{f'{share:.0f} % of {n}' if n else '-':>13}" for n, share in figures.by_pause
        )
        print(
            f"{kind:12}{figures.ends:6d}{figures.p50:6.0f}{figures.p95:6.0f}{figures.drops:7.2f}"
            f"{figures.heard:7.1f}%{bins}"
        )


def _half(clip: Clip) -> str:
    return f"half {sum(clip.name.encode()) % 2 + 1}"


def harder(clips: Sequence[Clip], ears: Ears, rng: np.random.Generator) -> None:
    """Longer pauses, and talk in the background."""
    print("\nPauses made longer, 0.6 s: heard in % of them")
    lengths = (0.3, 0.5, 0.8, 1.0, 1.5)
    print(f"{'':40}" + "".join(f"{f'{seconds} s':>8}" for seconds in lengths))
    for name, kinds in (("commands", COMMANDS), ("mono", ("mono",)), ("read", ("read",))):
        some = [clip for clip in clips if clip.kind in kinds and clip.holds]
        longer = [[lengthened(clip, seconds, rng) for clip in some] for seconds in lengths]
        for policy in ("normal", "fixed 0.9 s, started early"):
            row = [Figures.of(run(POLICIES[policy], those, 0.6, ears)).heard for those in longer]
            print(f"{f'{name}, {policy}':40}" + "".join(f"{share:8.0f}" for share in row))
    words = [clip for clip in clips if clip.kind == "short"]
    for before in ("", "How many?"):
        figures = Figures.of(run(Duologue(Settings(), before=before), words, 0.3, ears))
        print(
            f"single words, 0.3 s, {'after a question' if before else 'after none'}: p50 "
            f"{figures.p50:.0f} ms, p95 {figures.p95:.0f} ms"
        )
    others = [clip for clip in clips if clip.kind in ("read", "mono")]
    some = [clip for clip in clips if clip.kind in CONVERSATIONAL and clip.end is not None][:60]
    if len(others) < 4 or not some:
        return
    for decibels in (-20, -10):
        noisy = [with_babble(clip, others, decibels, rng) for clip in some]
        figures = Figures.of(run(POLICIES["normal"], noisy, 0.6, ears))
        print(
            f"talk in the background at {decibels} dB: p50 {figures.p50:.0f} ms, p95 "
            f"{figures.p95:.0f} ms, {figures.missed} of {figures.ends} ends missed"
        )


def interruptions(clips: Sequence[Clip], ears: Ears) -> None:
    """Barge-in: speech and what is none, without and with echo."""
    said = barge_in.speech_of([c for c in clips if c.kind in ("cmd", "cmd2", "question")][:60])
    words = barge_in.speech_of([clip for clip in clips if clip.kind == "short"])
    replies = barge_in.speech_of([clip for clip in clips if clip.kind == "read"])[:12]
    if not said or not replies:
        return
    if not find_node():
        print("\nInterruptions: skipped, because the page's echo gate needs Node")
        return
    spoken, rng = _mumbled(), np.random.default_rng(0)
    sounds: dict[str, list[Samples]] = {
        "speech": [barge_in.as_loud_as_speech(sound) for sound in said],
        "single words": [barge_in.as_loud_as_speech(sound) for sound in words],
        "mhm, yeah, okay (made)": [barge_in.as_loud_as_speech(sound) for sound in spoken[:-2]],
        "coughs (made)": [
            barge_in.as_loud_as_speech(barge_in.cough(spoken[-1 - number % 2], rng))
            for number in range(40 if spoken else 0)
        ],
        "keyboard (made)": [barge_in.as_loud_as_speech(barge_in.keyboard(rng)) for _ in range(15)],
        "knocks (made)": [barge_in.as_loud_as_speech(barge_in.knock(rng)) for _ in range(8)],
        "music (made)": [barge_in.as_loud_as_speech(barge_in.music(rng)) for _ in range(8)],
        "talk 20 dB below": [barge_in.as_loud_as_speech(sound, -20) for sound in said[:12]],
        "echo alone": [np.zeros(INPUT_RATE, np.float32) for _ in replies],
    }
    with open_gate() as gate:
        for echo in (-np.inf, -30.0, -20.0, -10.0):
            title = "headphones" if np.isinf(echo) else f"loudspeaker, echo at {echo:.0f} dB"
            print(f"\nInterruptions, {title}: ms after the onset (p50 / p95), how many of how many")
            for name, some in sounds.items():
                reactions = []
                for number, sound in enumerate(some):
                    own, reply = said[number % len(said)], replies[number % len(replies)]
                    reactions.append(barge_in.react(sound, ears, gate, own, reply, echo))
                ducked = _times([reaction.ducked for reaction in reactions])
                stopped = _times([reaction.stopped for reaction in reactions])
                print(f"{name:26}ducked {ducked:26} stopped {stopped}")
                if name == "echo alone":
                    before = [reaction.ducked_before or 0 for reaction in reactions]
                    last = f"the last after {max(before):.1f} s" if any(before) else ""
                    print(f"{'':26}before   {np.count_nonzero(before)} of {len(before)} {last}")


def nods(clips: Sequence[Clip], ears: Ears) -> None:
    """A listener's short words: those of assent should not stop the reply, the others should."""
    said = barge_in.speech_of([c for c in clips if c.kind in ("cmd", "cmd2", "question")][:60])
    replies = barge_in.speech_of([clip for clip in clips if clip.kind == "read"])[:12]
    missing = [name for name in ("kokoro", "misaki-en") if not weights.is_there(name)]
    if not said or not replies or not find_node() or missing:
        print("\nNods: skipped, because they need Node and Kokoro (duologue pull)")
        return
    kinds = {
        "nods": asyncio.run(listener.speak(listener.NODS)),
        "stops": asyncio.run(listener.speak(listener.STOPS)),
        "other nods": asyncio.run(listener.speak(listener.OTHER_NODS)),
        "other stops": asyncio.run(listener.speak(listener.OTHER_STOPS)),
    }
    if short := barge_in.speech_of([clip for clip in clips if clip.kind == "short"]):
        kinds["short"] = asyncio.run(listener.heard(short))
    print(
        "\nA listener's short words (made; and recorded short commands), without and with an ear:"
    )
    print(f"{'':41}{'stopped':>8}{'silent in 500 ms':>18}")
    ways = product((-np.inf, -20.0), kinds.items(), (0, -10, -20), (False, True))
    with open_gate() as gate:
        for echo, (name, words), decibels, weighed in ways:
            if name.startswith("other") and (decibels or not weighed):
                continue
            reactions = [
                barge_in.react(
                    barge_in.as_loud_as_speech(word.sound, decibels),
                    ears,
                    gate,
                    said[number % len(said)],
                    replies[number % len(replies)],
                    echo,
                    word.said if weighed else None,
                )
                for number, word in enumerate(words)
            ]
            stopped = [one for one in reactions if one.stopped is not None]
            soon = [one for one in stopped if (one.held or one.stopped or 0) <= _SOON]
            title = "headphones" if np.isinf(echo) else f"echo at {echo:.0f} dB"
            ear = "with an ear" if weighed else ""
            print(
                f"{name:11}{decibels:4d} dB, {title:15}{ear:12}"
                f"{len(stopped) / len(words):7.0%}{len(soon) / len(words):18.0%}"
            )


def _times(times: Sequence[float | None]) -> str:
    known = [at * 1000 for at in times if at is not None]
    count = f"{len(known)} of {len(times)}"
    if not known:
        return count
    return f"{np.percentile(known, 50):.0f} / {np.percentile(known, 95):.0f}, {count}"


def _mumbled() -> list[Samples]:
    """Back-channels and two vowels, by the default model's synthesiser, where it is installed."""
    if not importlib.util.find_spec("espeakng_loader"):
        return []
    from duologue.models.cascade.espeak import Espeak

    async def speak() -> list[Samples]:
        espeak = Espeak()
        words = ("mhm", "yeah", "okay", "right", "uh-huh", "yes", "ah!", "uh!")
        sounds = [
            barge_in.trimmed((await anext(espeak.speak(word))).at(INPUT_RATE).samples)
            for word in words
        ]
        await espeak.close()
        return sounds

    return asyncio.run(speak())


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--seeds", type=int, default=3, help="starts within a window [3]")
    parser.add_argument("--plot", type=Path, help="write the plot of the policies, as SVG")
    parser.add_argument("--golden", type=Path, help="write the golden tracks of the tests there")
    options = parser.parse_args(arguments)
    if not (options.folder / "turns.jsonl").is_file():
        print(f"skipped: there are no recordings in {options.folder.name}")
        return
    begun, ears = time.monotonic(), Ears()
    recordings = load(options.folder)
    rng = np.random.default_rng(0)
    clips = [padded(clip, rng) for _ in range(options.seeds) for clip in recordings]
    once = clips[: len(recordings)]
    try:
        print(f"{len(recordings)} recordings")
        if options.golden:
            golden.write(once, ears, options.golden)
            return
        shown = policies(clips, once, ears)
        by_kind(shown[0.6]["normal"])
        harder(once, ears, rng)
        interruptions(recordings, ears)
        nods(recordings, ears)
        if options.plot:
            points = {
                seconds: {name: Figures.of(judged) for name, judged in shown[seconds].items()}
                for seconds in (0.3, 0.6)
            }
            plot.draw(points, options.plot, _OURS)
    finally:
        ears.close()
    print(f"\n{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
