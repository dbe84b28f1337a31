from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.models.cascade.clauses import Clauses, speakable

LETTERS = st.text(alphabet="ab I1.,;!?…\n\t \"')-é😀", max_size=400)


def cut(*pieces: str) -> list[str]:
    clauses = Clauses()
    found = [clause for piece in pieces for clause in clauses.push(piece)]
    rest = clauses.flush()
    return [*found, rest] if rest else found


@given(st.lists(st.text(max_size=60)))
def test_the_clauses_joined_are_the_text(pieces: list[str]) -> None:
    assert "".join(cut(*pieces)) == "".join(pieces)


@given(LETTERS, st.lists(st.integers(0, 400)))
def test_how_the_text_arrives_makes_no_difference(text: str, places: list[int]) -> None:
    edges = [0, *sorted(place for place in places if place < len(text)), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    assert cut(*pieces) == cut(text)


@given(LETTERS)
def test_no_clause_is_long(text: str) -> None:
    assert all(len(clause) <= 300 for clause in cut(text))


def test_a_sentence_is_a_clause_and_white_space_goes_with_the_next() -> None:
    assert cut("Yes. No! Why?") == ["Yes.", " No!", " Why?"]


def test_a_clause_comes_as_soon_as_it_is_complete() -> None:
    clauses = Clauses()
    assert clauses.push("It is Paris.") == []  # "3." may become "3.14"
    assert clauses.push(" And") == ["It is Paris."]
    assert clauses.flush() == " And"


def test_only_the_first_clause_ends_at_an_early_comma() -> None:
    assert cut("Well, I think so, yes. Well, I think so, too.") == [
        "Well, I think so,",
        " yes.",
        " Well, I think so, too.",
    ]


def test_a_long_later_clause_ends_at_a_comma() -> None:
    long = " and so on and so on and so on and so on and so on and so on,"
    assert cut("Yes." + long + " more") == ["Yes.", long, " more"]


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith",
        "It is 3.14 or so",
        "J. R. Tolkien",
        "e.g. this",
        "1. Boil water",
        "www.a.org is",
    ],
)
def test_a_dot_inside_a_sentence_ends_nothing(text: str) -> None:
    assert cut(text) == [text]


def test_a_line_break_ends_a_clause() -> None:
    assert cut("Milk\nBread\n") == ["Milk", "\nBread", "\n"]


def test_a_closing_quote_stays_with_its_sentence() -> None:
    assert cut('He said "no." Then he left.') == ['He said "no."', " Then he left."]


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        (" **Hello** _there_, `friend`", "Hello there, friend"),
        ("\n# A title", "A title"),
        ("\n- milk\tand  bread", "milk and bread"),
        ("\n2. Drain it.", "Drain it."),
        ("Fine 😀👍🏽❤️, thanks", "Fine , thanks"),
        ("See [the page](https://example.com/x)", "See the page"),
        ("It is 20 °C.", "It is 20 °C."),
        ("don't", "don't"),
        ("...", ""),
        (" 😀 ", ""),
        ("", ""),
        ("\0a\ud800b", "ab"),
    ],
)
def test_only_what_can_be_spoken_is_spoken(clause: str, words: str) -> None:
    assert speakable(clause) == words


@given(st.text())
def test_spoken_words_have_no_white_space_around_them(clause: str) -> None:
    words = speakable(clause)
    assert words == words.strip()
    assert "\0" not in words
