"""What Whisper wrote, read."""

import pytest

from duologue.models.cascade.transcript import (
    Segment,
    doubtful,
    joined,
    loops,
    plausible,
    segments,
    single,
)

T = 1000  # the token of 0.00 s


def text(tokens: list[int]) -> str:
    return "".join(f" w{token}" for token in tokens)


def test_words_between_two_timestamps_are_a_segment() -> None:
    tokens = [T, 1, 2, T + 50, T + 60, 3, T + 100]
    assert segments(tokens, T, text) == [Segment(0, 1.0, " w1 w2"), Segment(1.2, 2.0, " w3")]


def test_words_without_a_timestamp_behind_them_have_no_end() -> None:
    assert segments([T, 1, T + 50, 2, 3], T, text) == [
        Segment(0, 1.0, " w1"),
        Segment(1.0, None, " w2 w3"),
    ]
    assert segments([7], T, text) == [Segment(0, None, " w7")]


@pytest.mark.parametrize("tokens", [[], [T], [T, T + 10], [T + 10, T + 10, T]])
def test_timestamps_alone_are_no_segment(tokens: list[int]) -> None:
    assert segments(tokens, T, text) == []


def said(*parts: tuple[float, float | None, str]) -> list[Segment]:
    return [Segment(*part) for part in parts]


def test_what_is_said_again_behind_the_end_of_the_sound_is_dropped() -> None:
    once = said((0, 2.0, " How are you?"))
    assert plausible([*once, *said((2.0, 4.0, " How are you?"))], 2.1, -0.3, 0.1) == once


def test_what_begins_behind_the_end_of_the_sound_is_dropped() -> None:
    once = said((0, 2.0, " How are you?"))
    assert plausible([*once, *said((2.05, 4.0, " Thank you."))], 2.1, -0.3, 0.1) == once


def test_who_says_it_twice_is_heard_twice() -> None:
    twice = said((0, 2.0, " How are you?"), (2.0, 4.0, " How are you?"))
    assert plausible(twice, 4.2, -0.3, 0.1) == twice


def test_an_unsure_text_where_nobody_seems_to_speak_is_dropped() -> None:
    words = said((0, 2.0, " Thanks for watching!"))
    assert plausible(words, 2.0, -1.2, 0.7) == []
    assert plausible(words, 2.0, -0.4, 0.7) == words
    assert plausible(words, 2.0, -1.2, 0.2) == words


def test_a_text_that_goes_round_in_circles_is_dropped_from_there_on() -> None:
    round_and_round = " I am going to go to the house." * 8
    assert loops(round_and_round)
    assert not loops(
        " And Mr. John Dashwood had then leisure to consider how much there might be in it."
    )
    first = said((0, 2.0, " Well."))
    assert plausible([*first, *said((2.0, 9.0, round_and_round))], 10, -0.1, 0.0) == first


def test_what_it_writes_until_there_is_no_room_left_was_said_once() -> None:
    twice = " 8 of spades, 4 of clubs, 8 of spades, 4 of clubs, 8 of"
    cut = [Segment(0.0, None, twice)]
    assert plausible(cut, 3.0, -0.2, 0.1) == [Segment(0.0, None, " 8 of spades, 4 of clubs,")]
    whole = [Segment(0.0, 2.9, twice)]
    assert plausible(whole, 3.0, -0.2, 0.1) == whole
    short = [Segment(0.0, None, " No, no, no, no.")]
    assert plausible(short, 3.0, -0.2, 0.1) == short


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            " About 25% of the people know Dr. Smith, about 25% of the people know Dr. Smith, about 25%",
            " About 25% of the people know Dr. Smith,",
        ),
        (
            " In 2000, Dr. Smith moved with the family in 2000. Dr. Smith moved with",
            " In 2000, Dr. Smith moved with the family",
        ),
        (" It is what it is, and it is what", " It is what it is, and it is what"),
    ],
)
def test_a_sentence_that_begins_anew_without_its_capital_was_said_once(
    written: str, said: str
) -> None:
    (kept,) = plausible([Segment(0.0, None, written)], 2.5, -0.3, 0.0)
    assert kept.words == said


def test_what_has_no_letter_is_no_word() -> None:
    found = [
        Segment(0.0, 2.0, " ¶¶¶¶¶¶¶¶"),
        Segment(2.0, 4.0, " 明天见"),
        Segment(4.0, 5.0, " ..."),
    ]
    assert plausible(found, 6.0, -0.2, 0.1) == found[1:2]


def test_segments_are_joined_to_one_text() -> None:
    assert joined(said((0, 1, " Well, "), (1, 2, " yes."))) == "Well, yes."
    assert joined([]) == ""


@pytest.mark.parametrize(
    "circle", [" it it it it it it", " I'm sorry, I'm sorry, I'm sorry, I'm sorry, I'm sorry,"]
)
def test_the_same_few_words_five_times_are_a_circle(circle: str) -> None:
    assert loops(circle)


@pytest.mark.parametrize(
    "words", [" No, no, no.", " Very, very, very, very good.", " 1 1 1 1 2 2 2"]
)
def test_who_stresses_a_word_goes_in_no_circle(words: str) -> None:
    assert not loops(words)


def test_words_are_doubted_where_it_is_unsure_or_nobody_seems_to_speak() -> None:
    words = [Segment(0.0, 2.0, " Good morning.")]
    assert doubtful(words, -1.1, 0.0)
    assert doubtful(words, -0.3, 0.5)
    assert not doubtful(words, -0.8, 0.3)


def test_words_are_doubted_where_they_went_in_a_circle() -> None:
    music = [Segment(float(at), at + 1.0, " Music") for at in range(9)]
    assert doubtful(music, -0.5, 0.3)
    assert not doubtful(music[:2], -0.5, 0.3)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Yeah. Yeah.", "Yeah."),
        (" Got it. Got it. Got it.", " Got it."),
        ("Yes, yes.", "Yes, yes."),
        ("No. Yes. No.", "No. Yes. No."),
        ("对。对。", "对。"),
        ("Right. Bright.", "Right. Bright."),
        ("", ""),
    ],
)
def test_a_sentence_that_is_said_twice_stands_once(written: str, said: str) -> None:
    assert single(written) == said
