"""What is said into a reply: assent, nothing, or something."""

import pytest

from duologue.turns.words import Said, asks_to_go_on, weigh


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
        "Doch.", "ううん", "Nein.",
        "Attends.", "Espera.", "停。", "好不好", "ちょっと待って。", "はい、でも",
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


@pytest.mark.parametrize(
    "words",
    [
        "Um, could you continue, please?", "Désolé, continue.", "Sure, go ahead.", "Let's continue.",
        "Go on.", "Sorry, go on.", "No, please continue.", "Oh, I'm sorry. Carry on, please.",
        "Keep going!", "You were saying?", "Okay, go ahead.", "Mach bitte weiter.",
        "Entschuldigung, weiter.", "Continuez, s'il vous plaît.", "Perdón, sigue.", "不好意思 你继续说。",
        "すみません、続けてください。",
    ],
)  # fmt: skip
def test_a_reply_may_be_asked_to_go_on_in_any_language(words: str) -> None:
    assert asks_to_go_on(words)


@pytest.mark.parametrize(
    "words",
    [
        "No siga, por favor.", "No continúe.", "不继续", "Okay, finish now.", "Geh weiter.",
        "", "Sorry.", "No.", "Go on with the second one.", "Continue in French.", "Don't go on.", "Go.",
        "Should I go on?", "Yeah.", "Weiter hinten.", "继续教育",
    ],
)  # fmt: skip
def test_all_else_does_not_ask_for_it(words: str) -> None:
    assert not asks_to_go_on(words)


@pytest.mark.parametrize("word", ["ha ", "sorry ", "go on ", "m", "对"])
def test_words_said_again_and_again_are_weighed_at_once(word: str) -> None:
    words = word * 300 + "x"  # an expression that tried every way to divide them would never end
    assert weigh(words) is Said.SPEECH
    assert not asks_to_go_on(words)
