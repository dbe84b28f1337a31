"""Figures to English words."""

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ("", " thousand", " million", " billion", " trillion")
_IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_PARTS = {2: ("half", "halves"), 4: ("quarter", "quarters")}

_LARGEST = 15  # figures, 999 trillion: longer ones are read figure by figure


def cardinal(figures: str) -> str:
    """1234567 as "one million two hundred thirty-four thousand ...".

    Args:
        figures: 0 to 9, nothing else; with a zero in front or too many they are read one by one.
    """
    if len(figures) > _LARGEST or (len(figures) > 1 and figures[0] == "0"):
        return one_by_one(figures)
    number, groups = int(figures), []
    if not number:
        return _ONES[0]
    for scale in _SCALES:
        number, group = divmod(number, 1000)
        if group:
            groups.append(_below_thousand(group) + scale)
    return " ".join(reversed(groups))


def ordinal(figures: str) -> str:
    """21 as "twenty-first"."""
    words = cardinal(figures)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    return words[:cut] + _ordinal(words[cut:])


def decimal(figures: str) -> str:
    """3.14 as "three point one four"; .5 as "point five"."""
    whole, _, rest = figures.partition(".")
    words = [cardinal(whole)] if whole else []
    return " ".join([*words, "point", one_by_one(rest)] if rest else words)


def one_by_one(figures: str) -> str:
    """911 as "nine one one"."""
    return " ".join(_ONES[int(figure)] for figure in figures)


def year(figures: str) -> str:
    """1984 as "nineteen eighty-four"; four figures from 1000 to 2999."""
    century, rest = int(figures[:2]), int(figures[2:])
    if figures[1] == "0" and rest < 10:
        return cardinal(figures)
    if not rest:
        return f"{_below_thousand(century)} hundred"
    between = "oh " if rest < 10 else ""
    return f"{_below_thousand(century)} {between}{_below_thousand(rest)}"


def plural(words: str) -> str:
    """The words with their last one in the plural: nineties, sixes, twenties."""
    if words.endswith("y"):
        return f"{words[:-1]}ies"
    return f"{words}es" if words.endswith(("x", "s")) else f"{words}s"


def fraction(above: str, below: str) -> str:
    """3 and 4 as "three quarters"."""
    one, many = _PARTS.get(int(below)) or (ordinal(below), f"{ordinal(below)}s")
    return f"{cardinal(above)} {one if int(above) == 1 else many}"


def _ordinal(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    return f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th"


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest:
        words.append(_below_hundred(rest))
    return " ".join(words)


def _below_hundred(number: int) -> str:
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
