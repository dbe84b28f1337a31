"""English words to the phonemes that Kokoro was trained with.

The dictionaries of misaki come first (Apache-2.0: `us_gold.json`, made by hand, and `us_silver.json`), then
their words with an ending, then letter by letter what is written in capitals, then espeak-ng. Phonemes are
those of misaki: the letters of the International Phonetic Alphabet, one letter for each diphthong
(A I O W Y Q) and affricate, and T for a tapped t.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from duologue.models.cascade.kokoro.words import DETERMINERS, SPELLED, SUBJECTS, VERBS_FOLLOW, Kind

Unknown = Callable[[str], str]
"""How to say a word that no dictionary has: the International Phonetic Alphabet, as espeak-ng writes it."""

_TOKEN = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*'?|[;:,.!?—…\"()“”]")
_VOWELS = frozenset("AIOQWYaeiouæɑɐɒɔəɛɜɪʊʌᵻᵊ")
_STRESSES = "ˈˌ"
_MARK = re.compile(r"\s*([;:,.!?—…।]+)(?=\s|$)\s*")
_MARKS = {"।": "."}  # of Hindi, which Kokoro does not know
_BREAKS = frozenset(";:,.!?—…")

# What espeak-ng writes, and what Kokoro knows it by. Longer ones first.
_FROM_IPA = (
    ("ʔˌn\u0329", "tᵊn"),
    ("ʔn\u0329", "tᵊn"),
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("d^ʒ", "ʤ"),
    ("t^ʃ", "ʧ"),
    ("e^ɪ", "A"),
    ("ɔ^ɪ", "Y"),
    ("ə^l", "ᵊl"),
    ("e^ə", "ɛː"),
    ("o^ʊ", "O"),
    ("ə^ʊ", "Q"),
    ("ɚ", "əɹ"),
    ("ɜːɹ", "ɜɹ"),
    ("ʲ", "j"),
    ("ɐ", "ə"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ç", "k"),
    ("ɬ", "l"),
    ("ʔ", "t"),
    ("^", ""),
    ("\u0303", ""),
)
_FROM_FOREIGN = (
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("d^z", "ʣ"),
    ("d^ʒ", "ʤ"),
    ("e^ɪ", "A"),
    ("o^ʊ", "O"),
    ("ə^ʊ", "Q"),
    ("s^s", "S"),
    ("t^s", "ʦ"),
    ("t^ʃ", "ʧ"),
    ("ɔ^ɪ", "Y"),
)
_TO_AMERICAN = (
    ("ɜː", "ɜɹ"),
    ("ɜɹɹ", "ɜɹ"),
    ("ɪə", "iə"),
    ("ː", ""),
    ("ɒ", "ɑ"),
    ("e", "A"),
    ("o", "O"),
)
_TO_BRITISH = (("iə", "ɪə"), ("ɑɹ", "ɑː"))
_SYLLABIC = re.compile("(\\S)\u0329")
_SWITCH = re.compile(r"\([^)]*\)")  # espeak-ng says when it changes the language

# American and British, for what the dictionaries have otherwise: in small letters, Anna is a coin.
_ALWAYS = {"I": ("ˌI", "ˌI"), "an": ("ɐn", "ɐn"), "An": ("ɐn", "ɐn"), "Anna": ("ˈænə", "ˈanə")}

_Entry = str | Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class _Context:
    """What stands around a word.

    Attributes:
        before: the word before, in small letters; empty at the beginning and after a mark.
        after: the word behind, in the same way.
        vowel: whether what is said next begins with a vowel; None before a mark and at the end.
        shouted: nothing in the text is written in small letters.
    """

    before: str
    after: str
    vowel: bool | None
    shouted: bool


class Phonemes:
    """Knows how words are said; American, or British with the dictionaries for that."""

    def __init__(
        self,
        gold: Mapping[str, _Entry],
        silver: Mapping[str, _Entry],
        unknown: Unknown,
        british: bool = False,
    ) -> None:
        self._dictionaries = gold, silver
        self._unknown, self._british = unknown, british

    @classmethod
    def load(cls, folder: Path, unknown: Unknown, british: bool = False) -> "Phonemes":
        """Read `us_gold.json` and `us_silver.json`, or those with gb, from a folder: 0.2 s, 40 MB."""
        of = "gb" if british else "us"
        gold, silver = (
            json.loads((folder / f"{of}_{kind}.json").read_text("utf-8"))
            for kind in ("gold", "silver")
        )
        return cls(gold, silver, unknown, british)

    def of(self, words: str) -> str:
        """The phonemes of words without figures and signs; marks of punctuation stay."""
        tokens = _TOKEN.findall(unicodedata.normalize("NFC", words))
        shouted = not any(letter.islower() for letter in words)
        said = [""] * len(tokens)
        vowel: bool | None = None
        # From behind: whether "the" is said as in "the apple" is up to what follows.
        for place in reversed(range(len(tokens))):
            token = tokens[place]
            if not token[0].isalpha():
                said[place] = token
                vowel = None if token in _BREAKS else vowel
                continue
            context = _Context(
                _word_at(tokens, place - 1), _word_at(tokens, place + 1), vowel, shouted
            )
            said[place] = self._compound(token, context)
            if said[place]:
                vowel = _begins_with_vowel(said[place])
        text = "".join(
            one if one in _BREAKS or one in ")”" else f" {one}" for one in said if one
        ).strip()
        return text.replace("( ", "(").replace("“ ", "“").replace("ɾ", "T").replace("ʔ", "t")

    def _compound(self, word: str, context: _Context) -> str:
        """A word, which may be made of others with a hyphen or a capital letter between."""
        found = self._word(word, context)
        if found is not None:
            return found
        parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\WA-Z-]+|[^\W-]+", word)
        if len(parts) > 1 and "".join(parts) == word.replace("-", ""):
            return "".join(self._compound(part, context) for part in parts)
        return _from_ipa(self._unknown(word), self._british)

    def _word(self, word: str, context: _Context) -> str | None:
        word = word.rstrip("'") if not word.endswith("s'") else word
        if (said := self._little(word, context)) is not None:
            return said
        if word.isupper() and len(word) > 1 and not context.shouted and word in SPELLED:
            return self._spell(word)
        for form in _forms(word):
            if (said := self._look_up(form, context)) is not None:
                return said
        for form in _forms(word):
            if (said := self._with_ending(form, context)) is not None:
                return said
        if word.isupper() and (len(word) < 6 or not _can_be_said(word)) and word.isascii():
            return self._spell(word)
        if word[:-1].isupper() and word.endswith("s") and len(word) > 2:  # CDs
            return _plural(self._spell(word[:-1]), self._british)
        plain = _without_accents(word)
        return self._word(plain, context) if plain != word else None

    def _little(self, word: str, context: _Context) -> str | None:
        """Words that are said in one way or another, as what follows has it."""
        if word in _ALWAYS:
            return _ALWAYS[word][self._british]
        match word:
            case "a" | "A" if context.after and (word == "a" or not context.before):
                return "ɐ"
            case "the" | "The":
                return "ði" if context.vowel else "ðə"
            case "to" | "To" if context.vowel is not None:
                return "tʊ" if context.vowel else "tə"
            case "in" | "In" if context.vowel is None:
                return "ˈɪn"
            case "used" | "Used" if context.after == "to":
                return "jˈust"
            case "close" if context.before in DETERMINERS and context.after:
                return "klˈOs"
            case "read" if _kind(word, context) == "VBN":
                return "ɹˈɛd"
        return None

    def _look_up(self, word: str, context: _Context) -> str | None:
        for dictionary in self._dictionaries:
            entry = dictionary.get(word)
            if entry is None:
                continue
            if isinstance(entry, str):
                return entry
            kind: str = _kind(word.lower(), context)
            if context.vowel is None and entry.get("None"):
                kind = "None"
            if (said := entry.get(kind) or entry.get("DEFAULT")) is not None:
                return said
        return None

    def _with_ending(self, word: str, context: _Context) -> str | None:
        for ending, stems, add in _ENDINGS:
            if len(word) < len(ending) + 3 or not word.endswith(ending):
                continue
            for stem in stems(word):
                if (said := self._look_up(stem, context)) is not None:
                    return add(said, self._british)
        return None

    def _spell(self, letters: str) -> str:
        """Letter by letter, with the stress on the last one."""
        names = [self._dictionaries[0].get(letter) for letter in letters]
        said = "".join(str(name).replace("ˈ", "ˌ") for name in names if name)
        head, stress, last = said.rpartition("ˌ")
        return f"{head}ˈ{last}" if stress else said


def foreign(words: str, ipa: Unknown) -> str:
    """The phonemes of words of another language, as espeak-ng says them; marks of punctuation stay."""
    said = ""
    for between, part in enumerate(_MARK.split(words)):
        if between % 2:
            said += f"{_MARKS.get(part[0], part[0])} " if said else ""
            continue
        phonemes = ipa(part) if part else ""
        for theirs, ours in _FROM_FOREIGN:
            phonemes = phonemes.replace(theirs, ours)
        said += _SWITCH.sub("", phonemes).replace("^", "").replace("-", "")
    return said.strip()


def _word_at(tokens: list[str], place: int) -> str:
    inside = 0 <= place < len(tokens) and tokens[place][0].isalpha()
    return tokens[place].lower() if inside else ""


def _forms(word: str) -> list[str]:
    """How a dictionary may have a word: as it stands, in small letters, as a name."""
    return list(dict.fromkeys((word, word.lower(), word.lower().capitalize())))


def _kind(word: str, context: _Context) -> Kind:
    """What a word is, as far as that can be told from the word before it."""
    before = context.before
    if word == "read" and before in (
        "have",
        "has",
        "had",
        "been",
        "was",
        "were",
        "he",
        "she",
        "it",
    ):
        return "VBN"
    if before in DETERMINERS:
        return "NOUN"
    if before in VERBS_FOLLOW or (before in SUBJECTS and not word.endswith("ing")):
        return "VERB"
    if not before and context.after in DETERMINERS:  # Record the song.
        return "VERB"
    return "DEFAULT"


def _begins_with_vowel(phonemes: str) -> bool:
    return phonemes.lstrip(_STRESSES)[:1] in _VOWELS


def _can_be_said(word: str) -> bool:
    return any(letter in "AEIOUY" for letter in word[1:])


def _without_accents(word: str) -> str:
    apart = unicodedata.normalize("NFD", word)
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def _plural(stem: str, british: bool) -> str:
    if stem[-1] in "ptkfθ":
        return f"{stem}s"
    if stem[-1] in "szʃʒʧʤ":
        return f"{stem}{'ɪ' if british else 'ᵻ'}z"
    return f"{stem}z"


def _past(stem: str, british: bool) -> str:
    if stem[-1] in "pkfθʃsʧ":
        return f"{stem}t"
    if stem[-1] == "d" or (stem[-1] == "t" and british):
        return f"{stem}{'ɪ' if british else 'ᵻ'}d"
    if stem[-1] == "t":
        return f"{_tapped(stem)}ᵻd"
    return f"{stem}d"


def _going(stem: str, british: bool) -> str:
    return f"{stem if british else _tapped(stem)}ɪŋ"


def _doer(stem: str, british: bool) -> str:
    return f"{stem}ə" if british else f"{_tapped(stem)}əɹ"


def _manner(stem: str, _: bool) -> str:
    return f"{stem}li"


def _tapped(stem: str) -> str:
    """Americans tap a t between vowels: wait, waiting."""
    if len(stem) > 1 and stem[-1] == "t" and stem[-2] in "AIOWYiuæɑəɛɪɹʊʌ":
        return f"{stem[:-1]}T"
    return stem


def _of_plural(word: str) -> list[str]:
    stems = [] if word.endswith("ss") else [word[:-1]]
    if word.endswith("ies"):
        stems.append(f"{word[:-3]}y")
    elif word.endswith("es"):
        stems.append(word[:-2])
    return stems


def _of_longer(ending: int) -> Callable[[str], list[str]]:
    """The stems of a word with an ending before which an e goes, a consonant doubles, a y becomes an i."""

    def stems(word: str) -> list[str]:
        stem = word[:-ending]
        found = [stem, f"{stem}e"]
        if len(stem) > 2 and stem[-1] == stem[-2]:
            found.insert(0, stem[:-1])
        if stem.endswith("i"):
            found.append(f"{stem[:-1]}y")
        return found

    return stems


_ENDINGS: tuple[tuple[str, Callable[[str], list[str]], Callable[[str, bool], str]], ...] = (
    ("'s", lambda word: [word[:-2]], _plural),
    ("s'", lambda word: [word[:-1]], lambda stem, _: stem),
    ("s", _of_plural, _plural),
    ("ed", _of_longer(2), _past),
    ("ing", _of_longer(3), _going),
    ("er", _of_longer(2), _doer),
    ("ly", lambda word: [word[:-2]], _manner),
)


def _from_ipa(phonemes: str, british: bool) -> str:
    phonemes = _SYLLABIC.sub(r"ᵊ\1", _SWITCH.sub("", phonemes))
    for theirs, ours in (*_FROM_IPA, *(_TO_BRITISH if british else _TO_AMERICAN)):
        phonemes = phonemes.replace(theirs, ours)
    return phonemes
