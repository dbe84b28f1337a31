"""What a few words mean to a reply: assent, a wish for the floor, or that it go on. Pure."""

import re
import unicodedata
from collections.abc import Collection, Iterable
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
        "verstehe", "ich verstehe", "natürlich", "sicher", "schön", "na klar", "eben",
    ),
    "fr": (
        "oui", "ouais", "d accord", "voilà", "bien", "bien sûr", "c est vrai", "c est ça", "je vois",
        "exact", "exactement", "ah bon", "très bien", "tout à fait",
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
        "うん", "はい", "ええ", "そう", "そうです", "そうですね", "そうだね", "なるほど",
        "へえ", "ふーん", "はあ", "確かに", "もちろん", "わかりました",
    ),
}  # fmt: skip
_UNSPACED = ("zh", "ja")

# As an ear would write them down: assent, and as many words that are none.
_LIKELY = {
    "en": (
        "Yeah. Okay. Right. Sure. I see. Yes. Oh. Got it. Uh-huh. Mm-hmm. Stop. Wait. No. What? Hold on."
    ),
    "de": "Ja. Okay. Genau. Klar. Stimmt. Ach so. Mhm. Gut. Stopp. Warte. Nein. Was? Moment.",
    "fr": "Oui. D'accord. OK. Ouais. Bien sûr. Je vois. Mhm. Stop. Attends. Non. Quoi ? Un instant.",
    "es": "Sí. Vale. Claro. Ya veo. De acuerdo. Ajá. Mhm. Para. Espera. No. ¿Qué? Un momento.",
    "zh": "嗯。对。好的。是的。明白。没错。停。等等。不。什么。",
    "ja": "うん。はい。そうですね。なるほど。ええ。待って。止めて。いや。何。",
}

# Asks that a reply go on which was stopped; and what may stand around that.
_GO_ON = {
    "": ("continue",),
    "en": (
        "(?:do |just )?(?:go|carry) on", "go ahead", "keep (?:going|talking)", "(?:do |just )?continue",
        "you were saying", "what were you saying", "where were we", "as you were",
        "i m listening", "resume", "(?:please )?proceed", "let s (?:continue|go on)",
        "(?:can|could|would) you (?:please )?(?:go on|continue|carry on)",
    ),
    "de": (
        "(?:mach|red|rede|sprich|erzähl|erzähle) (?:bitte |doch |ruhig |nur )?weiter", "weiter",
        "fahr (?:bitte |doch )?fort", "nur weiter", "ich höre(?: zu)?",
    ),
    "fr": (
        "continue[zr]?", "vas y", "allez y", "poursui[st]", "poursuivez", "reprends", "reprenez",
        "je (?:t|vous) écoute",
    ),
    "es": (
        "sigue", "siga", "continúa", "continua", "continúe", "adelante", "prosigue", "te escucho",
    ),
    "zh": ("继续", "请继续", "继续说", "继续吧", "接着说", "接着讲", "你继续", "你继续说", "请说", "说吧",
        "繼續",
    ),
    "ja": (
        "続けて", "続けてください", "続きを", "続きをどうぞ", "どうぞ続けて", "どうぞ", "つづけて",
        "それで",
    ),
}  # fmt: skip
_AROUND = {
    "": ("o ?k", "okay", "oh", "ah", "u+[hm]+", "h*m+", "e+r"),
    "en": (
        "no", "sure", "i m sorry", "sorry", "please", "yes", "yeah", "well", "alright", "all right",
        "right", "never mind", "nothing", "excuse me", "pardon", "then", "and", "so", "but", "you can",
    ),
    "de": (
        "entschuldigung", "entschuldige", "tut mir leid", "bitte", "ja", "nein", "gut", "also", "schon gut",
        "sorry", "egal", "und", "dann",
    ),
    "fr": (
        "pardon", "désolée?", "excuse[zr]? moi", "s il (?:te|vous) plaît", "oui", "non", "alors", "bon",
    ),
    "es": (
        "perdón", "perdona", "lo siento", "disculpa", "por favor", "s[ií]", "bueno", "vale", "y", "nada",
    ),
    "zh": ("对不起", "不好意思", "抱歉", "没事", "没关系", "好的", "好", "嗯", "请", "吧", "請"),
    "ja": ("すみません", "ごめん", "ごめんなさい", "失礼", "はい", "いや", "いいえ", "どうぞ", "うん"),
}  # fmt: skip


def weigh(words: str, language: str = "") -> Said:
    """What these words mean in the middle of a reply.

    Args:
        words: as an ear has written them down.
        language: that the user speaks, ISO 639-1; empty, or one that has no list here: it may be any.
    """
    plain = _plain(words)
    if not plain:
        return Said.NOTHING
    return (
        Said.NOD if len(plain) in _after(plain, {0}, _entries("assent", language)) else Said.SPEECH
    )


def likely(language: str) -> str:
    """A text with words that people say into a reply in this language; empty: none is known."""
    return _LIKELY.get(language, "")


def asks_to_go_on(words: str, language: str = "") -> bool:
    """Whether these words (as of `weigh`) ask that a stopped reply go on, and nothing else."""
    # One language at a time: "no" asks for nothing, but in "no siga" it does.
    known = [language] if language and language in _GO_ON else list(filter(None, _GO_ON))
    return any(_goes_on(_plain(words), one) for one in known)


def _goes_on(plain: str, language: str) -> bool:
    around, ask = _entries("around", language), _entries("go on", language)
    asked = _once(plain, _after(plain, {0}, around), ask)
    return len(plain) in _after(plain, _after(plain, asked, ask), around)


def _plain(words: str) -> str:
    """Words in small letters, with one space between them and nothing else."""
    words = unicodedata.normalize("NFKC", words).casefold()
    return " ".join(re.sub(r"[^\w]+", " ", words).split())


@cache
def _entries(name: str, language: str) -> tuple[re.Pattern[str], ...]:
    """The entries of a list that count in a language, each with the space behind it."""
    lists = {"assent": _ASSENT, "go on": _GO_ON, "around": _AROUND}[name]
    known = ("", language) if language and language in lists else tuple(lists)
    return tuple(
        re.compile(f"(?:{entry})" + (" ?" if one in _UNSPACED else "(?: |$)"))
        for one in known
        for entry in lists[one]
    )


def _once(text: str, places: set[int], entries: Iterable[re.Pattern[str]]) -> set[int]:
    """Where in the text one of the entries ends that begins in one of these places."""
    found = (entry.match(text, place) for entry in entries for place in places)
    return {match.end() for match in found if match}


def _after(text: str, places: set[int], entries: Collection[re.Pattern[str]]) -> set[int]:
    """Where any number of entries end. One expression for them would try every way to divide "ha ha ha"."""
    reached = new = places
    while new:
        new = _once(text, new, entries) - reached
        reached = reached | new
    return reached
