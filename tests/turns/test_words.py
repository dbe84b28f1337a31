"""What is said into a reply: assent, nothing, or something."""

import pytest

from duologue.turns.words import Said, weigh


@pytest.mark.parametrize(
    "words",
    [
        "Mm-hmm.", "Mhm", "Mmhmm.", "Hmm.", "Uh-huh.", "uh huh", "Aha!", "Yeah.", "Yeah, yeah.", "Okay.",
        "OK", "Right.", "Alright.", "All right, sure.", "Oh, I see.", "Got it.", "Yes, yes, of course.",
        "Oh!", "Wow!", "That's right.", "Ha ha ha!", "Hahaha.", "Ja, genau.", "Ach so.", "Oui, d'accord.",
        "Bien sûr.", "Sí, claro.", "Vale.",
        "嗯。", "对、对。", "好的。", "はい。", "うん、そうですね。", "なるほど。",
    ],
)  # fmt: skip
def test_assent_in_any_language_is_a_nod(words: str) -> None:
    assert weigh(words) is Said.NOD


@pytest.mark.parametrize(
    "words",
    [
        "Stop.", "Wait.", "No.", "Right, but why?", "Okay, stop.", "I can't stop laughing.", "Yesterday.",
        "What?", "Yes, I would like that.", "Seven.", "Sure thing, tell me more.", "Oh no.",
        "Nein.", "Attends.", "Espera.", "停。", "好不好", "ちょっと待って。", "はい、でも",
        "The right one.",
    ],
)  # fmt: skip
def test_all_else_is_something_that_is_said(words: str) -> None:
    assert weigh(words) is Said.SPEECH


@pytest.mark.parametrize("words", ["", " ", "...", "—", "♪"])
def test_without_words_nothing_was_said(words: str) -> None:
    assert weigh(words) is Said.NOTHING


def test_a_language_has_its_own_words_and_those_of_all() -> None:
    assert [weigh("Ja.", language) for language in ("de", "en")] == [Said.NOD, Said.SPEECH]
    assert [weigh("Mm-hmm.", language) for language in ("de", "ja", "pt")] == [Said.NOD] * 3
    assert weigh("Yeah.", "pt") is Said.NOD  # which has no list here
