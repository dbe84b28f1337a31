"""What a few words mean that are said into a reply: whether they assent to it, or want the floor. Pure."""

import re
from enum import Enum, auto
from functools import cache


class Said(Enum):
    """What somebody said into a reply."""

    NOTHING = auto()
    """No words: a cough, a laugh, a breath."""
    NOD = auto()
    """Words of assent, which want no answer: the reply goes on."""
    SPEECH = auto()
    """Anything else."""


# In each of the languages; what everybody says stands under "".
_ASSENT = {
    "": (
        "m+ ?h+m+", "h+m+", "m+", "u+h huh", "u+h hum", "a+h?", "o+h?", "u+h", "aha", "o ?k", "okay", "wow",
        "(?:ha ?)+", "(?:he ?)+", "(?:hi ?)+", "(?:ho ?)+",
    ),
    "en": (
        "yeah", "yep", "yes", "yup", "right", "al+ ?right", "sure", "i see", "got it", "exactly", "true",
        "of course", "really", "cool", "good", "great", "nice", "fine", "i know", "makes sense",
        "fair enough", "that s right", "that s true", "indeed", "absolutely", "interesting",
    ),
    "de": (
        "ja", "jaja", "genau", "stimmt", "klar", "gut", "richtig", "ach so", "achso", "alles klar",
        "verstehe", "ich verstehe", "natürlich", "sicher", "schön", "na klar", "eben", "doch",
    ),
    "fr": (
        "oui", "ouais", "d accord", "voilà", "bien", "bien sûr", "c est vrai", "c est ça", "je vois",
        "exact", "exactement", "ah bon", "très bien", "tout à fait", "si",
    ),
    "es": (
        "s[ií]", "vale", "claro", "claro que s[ií]", "ya", "ya veo", "bueno", "bien", "exacto", "cierto",
        "de acuerdo", "entiendo", "por supuesto", "muy bien",
    ),
    "zh": (
        "嗯", "对", "是", "是的", "是啊", "好", "好的", "行", "哦", "啊", "没错", "当然", "明白",
        "知道了", "可以",
    ),
    "ja": (
        "うん", "ううん", "はい", "ええ", "そう", "そうです", "そうですね", "そうだね", "なるほど",
        "へえ", "ふーん", "はあ", "確かに", "もちろん", "わかりました",
    ),
}  # fmt: skip
_UNSPACED = ("zh", "ja")


def weigh(words: str, language: str = "") -> Said:
    """What these words mean in the middle of a reply.

    Args:
        words: as an ear has written them down.
        language: that the user speaks, ISO 639-1; empty, or one that has no list here: it may be any.
    """
    plain = " ".join(re.sub(r"[^\w]+", " ", words.casefold()).split())
    if not plain:
        return Said.NOTHING
    return Said.NOD if _assent(language).fullmatch(plain) else Said.SPEECH


@cache
def _assent(language: str) -> re.Pattern[str]:
    """What is nothing but assent, once or several times."""
    known = ("", language) if language and language in _ASSENT else tuple(_ASSENT)
    spaced = [words for name in known if name not in _UNSPACED for words in _ASSENT[name]]
    unspaced = [words for name in known if name in _UNSPACED for words in _ASSENT[name]]
    return re.compile(rf"(?:(?:{'|'.join(spaced)})(?: |$)|(?:{'|'.join(unspaced) or '$'}) ?)+")
