"""The receipt as metadata, and as a line for people."""

import math

from hypothesis import given
from hypothesis import strategies as st

from duologue.receipt import Pause, Receipt

_SECONDS = st.none() | st.floats(-10, 1000)


@given(
    st.builds(
        Receipt,
        *[_SECONDS] * 6,
        early=st.booleans(),
        drops=st.integers(0, 100),
        heard=_SECONDS,
        cut=st.sampled_from(["", "resumed", "marked"]),
    )
)
def test_metadata_says_all_but_the_pause_to_the_millisecond(receipt: Receipt) -> None:
    metadata = receipt.metadata()
    assert len(metadata) <= 16
    assert all(len(key) <= 64 and len(value) <= 512 for key, value in metadata.items())
    back = Receipt.from_metadata(metadata)
    for name in ("decided", "started", "first_token", "first_sound", "sent", "played", "heard"):
        given, got = getattr(receipt, name), getattr(back, name)
        assert (given is None) == (got is None)
        assert given is None or math.isclose(given, got, abs_tol=0.0006)
    assert (back.early, back.drops, back.cut) == (receipt.early, receipt.drops, receipt.cut)


def test_metadata_names_what_was_measured_from_what_to_what() -> None:
    receipt = Receipt(decided=0.5, started=0.192, sent=0.6, played=0.6123, early=True, heard=3.2)
    assert receipt.metadata() == {
        "last_word_to_decided_s": "0.500",
        "last_word_to_model_started_s": "0.192",
        "last_word_to_sent_s": "0.600",
        "last_word_to_played_s": "0.612",
        "heard_s": "3.200",
        "early": "true",
        "drops": "0",
    }
    pause = Pause(0.93, "normal", 1.0, 0.5, 1.0, -20.0, -60.0)
    assert Receipt(pause=pause).metadata() == {
        "early": "false",
        "drops": "0",
        "wait_s": "0.500",
        "finished_probability": "0.930",
    }
    assert Receipt(cut="marked").metadata() == {"early": "false", "drops": "0", "cut": "marked"}


@given(st.dictionaries(st.sampled_from(list(Receipt(0, cut="marked").metadata())), st.text()))
def test_metadata_of_another_server_is_read_as_far_as_it_goes(metadata: dict[str, str]) -> None:
    receipt = Receipt.from_metadata({"colour": "red", **metadata})
    assert receipt.decided is None or math.isfinite(receipt.decided)
    assert receipt.drops >= 0


def test_what_is_no_number_is_not_known() -> None:
    wrong = {"last_word_to_sent_s": "nan", "heard_s": "inf", "drops": "-3", "cut": "deeply"}
    assert Receipt.from_metadata(wrong) == Receipt()


def test_the_user_reads_when_the_answer_came_and_what_was_heard_of_it() -> None:
    played = Receipt(sent=0.58, played=0.612, early=True, heard=3.21)
    assert played.summary() == "0.61 s after your last word · started early · heard 3.2 s"
    assert Receipt(sent=0.58).summary() == "0.58 s after your last word"
    assert Receipt(sent=1, cut="marked").summary() == "1.00 s after your last word · cut you off"


def test_of_what_is_not_known_nothing_is_said() -> None:
    assert Receipt(started=0.2, early=True, drops=2).summary() == ""
