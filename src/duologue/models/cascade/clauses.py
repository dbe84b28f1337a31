"""Cuts a text that is still being written into pieces that are spoken one after the other."""

import re
import unicodedata

_LONGEST = 100  # characters, about 7 s of speech: a pause in the wrong place is better than waiting
_ENDLESS = 200  # characters without white space; no words, but they must not pile up
_FIRST_COMMA = 12  # characters: the first clause ends the silence, so it may be short
_COMMA = 60  # characters: later ones are ahead of the voice anyway, and longer ones sound better

_QUOTES = "[\"'\u201d\u2019)\\]]*"  # and brackets: what may close behind a mark
_SENTENCE_END = re.compile(f"[.!?\u2026]{_QUOTES}$")
_CLAUSE_END = re.compile(f"[,;:\u2013\u2014]{_QUOTES}$")  # the last two are dashes
_NO_END = re.compile(r"(?:(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|[A-Z])|^\s*\d+)\.$")

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_BULLET = re.compile(r"^\s*(?:[-•*+]|\d+[.)])\s+")
_MARKUP = frozenset("*_`#~|<>\\^{}")
_UNSPEAKABLE = frozenset(("So", "Sk", "Cs", "Co", "Cn", "Cf"))


class Clauses:
    """Takes a text in pieces of any length and gives it back in clauses.

    The clauses joined are the text: white space stands at the front of the clause that follows it.
    How the text was cut into pieces makes no difference.
    """

    def __init__(self) -> None:
        self._text = ""
        self._seen = 0  # up to here, there is no cut
        self._first = True

    def push(self, text: str) -> list[str]:
        """The clauses that are now complete."""
        self._text += text
        clauses = []
        while cut := self._cut():
            clauses.append(self._text[:cut])
            self._text, self._seen, self._first = self._text[cut:], 0, False
        return clauses

    def flush(self) -> str:
        """What is left at the end of the text."""
        rest, self._text, self._seen = self._text, "", 0
        return rest

    def _cut(self) -> int:
        """Where the first clause ends; 0 where it is not complete yet."""
        for place in range(self._seen, len(self._text)):
            # A mark counts when white space follows: there is none inside 3.14 and example.com.
            if self._text[place].isspace() and self._ends(self._text[:place], self._text[place]):
                return place
            if place >= _ENDLESS:
                return place
        self._seen = len(self._text)
        return 0

    def _ends(self, clause: str, follows: str) -> bool:
        if not clause.strip():
            return False
        if follows == "\n" or len(clause) >= _LONGEST:
            return True
        if _SENTENCE_END.search(clause):
            return not _NO_END.search(clause)
        comma = _FIRST_COMMA if self._first else _COMMA
        return len(clause.strip()) >= comma and bool(_CLAUSE_END.search(clause))


def speakable(clause: str) -> str:
    """The words of a clause without markup and emoji; empty when there is nothing to say."""
    text = _BULLET.sub("", _LINK.sub(r"\1", clause))
    kept = "".join(
        " " if unicodedata.category(letter) == "Cc" else letter
        for letter in text
        if letter not in _MARKUP and not _is_picture(letter)
    )
    return " ".join(kept.split()) if any(letter.isalnum() for letter in kept) else ""


def _is_picture(letter: str) -> bool:
    # U+FE0F asks for a coloured picture; the degree sign is a "symbol" that has a name in speech.
    return letter == "\ufe0f" or (letter != "°" and unicodedata.category(letter) in _UNSPEAKABLE)
