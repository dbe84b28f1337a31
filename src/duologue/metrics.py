"""Every metric in one place, for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from duologue.timings import CutBy, Timings

# Fine where people tell delays apart, around the waits of 0.4 to 1.4 s; 10 s is where they have given up.
_DELAYS = (
    0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.7, 2.0, 3.0, 5.0, 10.0,
)  # fmt: skip
_ANSWERS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)

sessions = Gauge("duologue_sessions", "Clients that are connected.")

_decided = Histogram(
    "duologue_end_of_utterance_delay_seconds",
    "From the last word until the turn was taken for ended, where the client did not tell.",
    buckets=_DELAYS,
)
_first_token = Histogram(
    "duologue_time_to_first_token_seconds",
    "From the model's start until it gave the first piece of anything.",
    buckets=_DELAYS,
)
_first_sound = Histogram(
    "duologue_time_to_first_audio_seconds",
    "From the model's start until it gave the first sound.",
    buckets=_DELAYS,
)
_sent = Histogram(
    "duologue_response_delay_seconds",
    "From the last word until the first sound was handed to the connection.",
    buckets=_DELAYS,
)
_played = Histogram(
    "duologue_voice_to_voice_seconds",
    "From the last word until the first sound left the loudspeaker, as far as clients tell.",
    buckets=_DELAYS,
)
_turns = Counter("duologue_turns", "Turns that are over, by what became of the reply.", ["outcome"])
_drops = Counter(
    "duologue_reply_starts_dropped",
    "Replies that were begun and taken back before anybody heard of them.",
)
_cuts = Counter(
    "duologue_false_cuts",
    "Turns that were ended too early: the user went on (resumed), or said so (marked).",
    ["by"],
)
_barge_ins = Counter(
    "duologue_barge_ins",
    "Replies made quieter for what may be an interruption (ducked), gone on with (nodded), or stopped.",
    ["stage"],
)
_smart_turn_answers = Counter(
    "duologue_smart_turn_answers",
    "Pauses that Smart Turn was asked about, by whether its answer came in time.",
    ["outcome"],
)
_smart_turn = Histogram(
    "duologue_smart_turn_seconds",
    "From a pause until Smart Turn's answer, the wait for its turn included.",
    buckets=_ANSWERS,
)

# All are there from the beginning, or the first of each would not show as an increase.
for _metric, _values in (
    (_turns, ("completed", "interrupted", "failed")),
    (_cuts, ("resumed", "marked")),
    (_barge_ins, ("ducked", "nodded", "stopped")),
    (_smart_turn_answers, ("answered", "late")),
):
    for _value in _values:
        _metric.labels(_value)


def record_turn(timings: Timings, outcome: str) -> None:
    """A turn is over.

    Args:
        timings: what is known of it.
        outcome: what became of the reply: "completed", "interrupted", "failed".
    """
    _turns.labels(outcome).inc()
    _drops.inc(timings.drops)
    found = timings.decided if timings.pause else None  # a client that tells the end takes no time
    for histogram, seconds in (
        (_decided, found),
        (_first_token, _between(timings.started, timings.first_token)),
        (_first_sound, _between(timings.started, timings.first_sound)),
        (_sent, timings.sent),
        (_played, timings.played),
    ):
        if seconds is not None:
            histogram.observe(seconds)


def record_cut(by: CutBy) -> None:
    """A turn was ended too early."""
    _cuts.labels(by).inc()


def record_duck() -> None:
    """A reply was made quieter, for what may be an interruption."""
    _barge_ins.labels("ducked").inc()


def record_nod() -> None:
    """What made it quieter was a nod."""
    _barge_ins.labels("nodded").inc()


def record_stop() -> None:
    """A reply was interrupted."""
    _barge_ins.labels("stopped").inc()


def record_smart_turn(seconds: float | None) -> None:
    """Smart Turn answered after `seconds`; None: it could not in time."""
    _smart_turn_answers.labels("late" if seconds is None else "answered").inc()
    if seconds is not None:
        _smart_turn.observe(seconds)


def exposition() -> tuple[bytes, str]:
    """All metrics, and the process's, as Prometheus reads them; and their media type."""
    return generate_latest(), CONTENT_TYPE_LATEST


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start
