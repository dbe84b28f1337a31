"""Written English to the words that a person would say."""

import pytest

from duologue.models.cascade.kokoro.numerals import cardinal, fraction, ordinal, year
from duologue.models.cascade.kokoro.spoken import spoken


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("It costs $3.50.", "It costs three dollars and fifty cents."),
        ("That is $1.2 million, or €5.", "That is one point two million dollars, or five euros."),
        (
            "25°C outside, 77°F inside.",
            "twenty-five degrees Celsius outside, seventy-seven degrees Fahrenheit inside.",
        ),
        (
            "On 12/5/2024 and 2024-12-05.",
            "On December fifth, twenty twenty-four and December fifth, twenty twenty-four.",
        ),
        ("March 3rd, 1999", "March third, nineteen ninety-nine"),
        ("the 4th of July 1776", "the fourth of July, seventeen seventy-six"),
        ("in the 1990s", "in the nineteen nineties"),
        ("at 7:30 p.m.", "at seven thirty PM."),
        ("It is 14:00.", "It is fourteen hundred."),
        ("Meet at 9am.", "Meet at nine AM."),
        ("at 11.30 pm", "at eleven thirty PM"),
        (" - yes, of course,", "yes, of course,"),
        (
            "Dr. Smith lives at 221B Baker St.",
            "Doctor Smith lives at two hundred twenty-one B Baker Street",
        ),
        ("Mr. and Mrs. Jones", "Mister and Missus Jones"),
        ("e.g. apples, pears, etc.", "for example apples, pears, et cetera."),
        ("The U.S. and the U.K. agree.", "The US and the UK agree."),
        (
            "5 km, 10 kg, 3 lbs and 12%",
            "five kilometers, ten kilograms, three pounds and twelve percent",
        ),
        ("60 mph", "sixty miles per hour"),
        ("1/2 cup and 3/4 of it", "one half cup and three quarters of it"),
        ("2 1/2 hours", "two and a half hours"),
        (
            "1,234,567 people",
            "one million two hundred thirty-four thousand five hundred sixty-seven people",
        ),
        ("3.14159", "three point one four one five nine"),
        ("room 1408", "room fourteen oh eight"),
        ("call 555-123-4567", "call five five five, one two three, four five six seven"),
        ("https://www.example.com/help?x=1", "example dot com slash help"),
        ("write to info@example.org", "write to info at example dot org"),
        ("**Bold** and `code` and [a link](http://x.org)", "Bold and 'code' and a link"),
        ("# Title", "Title"),
        ("- one item", "one item"),
        ("- two items", "two items"),
        ("1. first", "first"),
        ("🙂 hello 🎉", "hello"),
        ("Henry VIII and World War II", "Henry the eighth and World War two"),
        ("Chapter IV", "Chapter four"),
        ("C# and C++", "C sharp and C plus plus"),
        ("5 + 3 = 8", "five plus three equals eight"),
        ("10-20 people", "ten to twenty people"),
        ("-5 degrees", "minus five degrees"),
        ("1st, 2nd, 23rd", "first, second, twenty-third"),
        ("v2.3.1", "two point three point one"),
        ("192.168.0.1", "one nine two dot one six eight dot zero dot one"),
        ("100% sure!!!", "one hundred percent sure!"),
        ("What?! No...", "What? No…"),
        ('"Quoted" (and bracketed)', "“Quoted” (and bracketed)"),
        ("24/7", "twenty-four seven"),
        ("AT&T", "AT and T"),
        ("Wait — what?", "Wait — what?"),
        ("iPhone 15 Pro", "iPhone fifteen Pro"),
        ("9/11", "nine eleven"),
        ("It's 3pm; don't be late.", "It's three PM; don't be late."),
        ("He said: ‘no’.", "He said: 'no'."),
        ("x² + y²", "x squared plus y squared"),
        ("50€", "fifty euros"),
        ("你好", ""),
        ("Привет, how are you?", "how are you?"),
        ("0.5 l", "zero point five liters"),
        ("a 5-year-old", "a five year-old"),
        ("COVID-19", "COVID nineteen"),
        ("1e10", "one e ten"),
        ("snake_case_name", "snake case name"),
        ("foo.py", "foo dot py"),
        ("<b>tag</b>", "tag"),
        ("~100", "about one hundred"),
        ("$0.99", "ninety-nine cents"),
        ("10:05:33", "ten oh five thirty-three"),
        ("No. 5", "number five"),
    ],
)
def test_it_is_said_as_a_person_would(written: str, said: str) -> None:
    assert spoken(written) == said


@pytest.mark.parametrize(
    "text", ["", " ", "...", "🙂🎉", "***", "こんにちは", "\x00\x07", "--- \n ***", "()"]
)
def test_what_has_no_words_says_nothing(text: str) -> None:
    assert spoken(text) == ""


@pytest.mark.parametrize(
    "text", ["a" * 10_000, "7" * 10_000, "$1," * 4_000, "ab. " * 3_000, "(" * 10_000, "x_" * 5_000]
)
def test_a_text_without_an_end_is_said_by_letters_and_words_that_a_voice_knows(text: str) -> None:
    said = spoken(text)
    assert not set(said) & set("0123456789_$*#")


def test_numbers_of_any_size_are_words() -> None:
    assert cardinal("0") == "zero"
    assert cardinal("1000000") == "one million"
    assert cardinal("007") == "zero zero seven"
    assert cardinal("1" * 16) == " ".join(["one"] * 16)
    assert ordinal("12") == "twelfth"
    assert ordinal("40") == "fortieth"
    assert year("2005") == "two thousand five"
    assert year("1900") == "nineteen hundred"
    assert fraction("5", "8") == "five eighths"
