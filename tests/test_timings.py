"""The timings as metadata, and as a line for people."""

import math

from hypothesis import given
from hypothesis import strategies as st

from duologue.timings import Pause, Timings

_SECONDS = st.none() | st.floats(-10, 1000)


@given(
    st.builds(
        Timings,
        *[_SECONDS] * 6,
        early=st.booleans(),
        drops=st.integers(0, 100),
        heard=_SECONDS,
        cut=st.sampled_from(["", "resumed", "marked"]),
    )
)
def test_metadata_says_all_but_the_pause_to_the_millisecond(timings: Timings) -> None:
    metadata = timings.metadata()
    assert len(metadata) <= 16
    assert all(len(key) <= 64 and len(value) <= 512 for key, value in metadata.items())
    back = Timings.from_metadata(metadata)
    for name in ("decided", "started", "first_token", "first_sound", "sent", "played", "heard"):
        given, got = getattr(timings, name), getattr(back, name)
        assert (given is None) == (got is None)
        assert given is None or math.isclose(given, got, abs_tol=0.0006)
    assert (back.early, back.drops, back.cut) == (timings.early, timings.drops, timings.cut)


def test_metadata_names_what_was_measured_from_what_to_what() -> None:
    timings = Timings(decided=0.5, started=0.192, sent=0.6, played=0.6123, early=True, heard=3.2)
    assert timings.metadata() == {
        "last_word_to_decided_s": "0.500",
        "last_word_to_model_started_s": "0.192",
        "last_word_to_sent_s": "0.600",
        "last_word_to_played_s": "0.612",
        "heard_s": "3.200",
        "early": "true",
        "drops": "0",
    }
    pause = Pause(0.93, "normal", 1.0, 0.5, 1.0, -20.0, -60.0)
    assert Timings(pause=pause).metadata() == {
        "early": "false",
        "drops": "0",
        "wait_s": "0.500",
        "finished_probability": "0.930",
    }
    assert Timings(cut="marked").metadata() == {"early": "false", "drops": "0", "cut": "marked"}


@given(st.dictionaries(st.sampled_from(list(Timings(0, cut="marked").metadata())), st.text()))
def test_metadata_of_another_server_is_read_as_far_as_it_goes(metadata: dict[str, str]) -> None:
    timings = Timings.from_metadata({"colour": "red", **metadata})
    assert timings.decided is None or math.isfinite(timings.decided)
    assert timings.drops >= 0


def test_what_is_no_number_is_not_known() -> None:
    wrong = {"last_word_to_sent_s": "nan", "heard_s": "inf", "drops": "-3", "cut": "deeply"}
    assert Timings.from_metadata(wrong) == Timings()


def test_the_user_reads_when_the_answer_came_and_what_was_heard_of_it() -> None:
    played = Timings(sent=0.58, played=0.612, early=True, heard=3.21)
    assert played.summary() == "0.61 s after your last word · started early · heard 3.2 s"
    assert Timings(sent=0.58).summary() == "0.58 s after your last word"
    assert Timings(sent=1, cut="marked").summary() == "1.00 s after your last word · cut you off"


def test_of_what_is_not_known_nothing_is_said() -> None:
    assert Timings(started=0.2, early=True, drops=2).summary() == ""
