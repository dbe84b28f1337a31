"""English words to phonemes: the dictionaries, their words with endings, letters, and espeak-ng."""

import functools

import pytest

pytest.importorskip("espeakng_loader")

from duologue import weights
from duologue.models.cascade import espeak
from duologue.models.cascade.kokoro.network import pieces
from duologue.models.cascade.kokoro.phonemes import Phonemes, foreign

needs_dictionaries = pytest.mark.skipif(
    not weights.is_there("misaki-en"), reason="needs the weights; run: duologue pull misaki-en"
)


@functools.cache
def english(british: bool = False) -> Phonemes:
    voice = "en-gb" if british else "en-us"
    return Phonemes.load(
        weights.locate("misaki-en"), lambda word: espeak.phonemes(word, voice), british
    )


@needs_dictionaries
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("The capital of France is Paris.", "ðə kˈæpəTᵊl ʌv fɹˈæns ɪz pˈɛɹəs."),
        ("the apple, the pear", "ði ˈæpᵊl, ðə pˈɛɹ"),
        ("a record", "ɐ ɹˈɛkəɹd"),
        ("to record it", "tə ɹəkˈɔɹd ɪt"),
        ("waiting", "wˈATɪŋ"),
        ("boxes", "bˈɑksᵻz"),
        ("NASA and the FBI", "nˈæsə ænd ði ˌɛfbˌiˈI"),
        ("The US army", "ðə jˌuˈɛs ˈɑɹmi"),
    ],
)
def test_american_words(words: str, said: str) -> None:
    assert english().of(words) == said


@needs_dictionaries
def test_british_words_are_said_otherwise() -> None:
    assert english(british=True).of("bath") == "bˈɑːθ"
    assert english().of("bath") == "bˈæθ"


@needs_dictionaries
@pytest.mark.parametrize(
    "word", ["Zorblax", "Pneumatoqux", "Llanfairpwll", "Wojciechowski", "crème"]
)
def test_a_word_that_no_dictionary_has_is_said_all_the_same(word: str) -> None:
    assert len(english().of(word)) > 3


@needs_dictionaries
@pytest.mark.parametrize("words", ["", "!?", "-- ' --"])
def test_no_words_are_no_phonemes(words: str) -> None:
    assert not any(letter.isalpha() for letter in english().of(words))


def test_another_language_is_said_as_espeak_says_it() -> None:
    said = foreign(
        "... Bonjour, quel temps fait-il ?", lambda words: espeak.phonemes(words, "fr-fr")
    )
    assert said.startswith("bɔ̃ʒˈuʁ, ")
    assert said.endswith("?")
    assert "^" not in said
    assert "-" not in said
    assert foreign("फ्रांस।", lambda words: espeak.phonemes(words, "hi")).endswith(".")
    assert foreign("... ?", lambda words: espeak.phonemes(words, "fr-fr")) == ""


def test_long_phonemes_are_cut_at_breaks_and_between_words() -> None:
    text = "wˈʌn tˈu, " * 30
    found = pieces(text, 80)
    assert max(map(len, found)) <= 80
    assert all(piece.endswith(",") for piece in found)
    assert "".join(found).replace(" ", "") == text.replace(" ", "")
    assert pieces("a" * 200, 80) == [f"{'a' * 80},", f"{'a' * 80},", f"{'a' * 40}."]
    assert pieces("hˈI", 80) == ["hˈI."]
    assert pieces("jˈɛs,", 80) == ["jˈɛs,"]
    assert pieces("", 80) == []
