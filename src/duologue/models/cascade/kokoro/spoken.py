"""Written English to the words that a person would say: figures, dates, units, addresses, markup.

The result has letters, apostrophes, hyphens and marks of punctuation, nothing else. What cannot be spoken
(emoji, other scripts) is left out. Every rule looks at a bounded number of characters, so the time grows
with the length of the text and not faster.
"""

import re
import unicodedata
from collections.abc import Callable

from duologue.models.cascade.kokoro.numerals import (
    cardinal,
    decimal,
    fraction,
    one_by_one,
    ordinal,
    plural,
    year,
)
from duologue.models.cascade.kokoro.vocabulary import (
    CODES,
    COUNTED,
    CURRENCIES,
    DAYS,
    DOTTED,
    HALVES,
    KINGS,
    MAGNITUDES,
    MONTHS,
    SAME,
    SHORT,
    SIGNS,
    TITLES,
    UNITS,
)

_Match = re.Match[str]
_Rule = tuple[re.Pattern[str], Callable[[_Match], str] | str]

_MONTH = "|".join(
    rf"{name[:3]}(?:{name[3:]}|t?\.?(?![a-z]))" if len(name) > 3 else name for name in MONTHS
)

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,20})"  # a whole one, with or without commas
_DECIMAL = rf"(?:{_NUMBER}(?:\.\d{{1,20}})?|\.\d{{1,20}})"
_ALONE = r"(?<![\w.,/])"  # nothing before that would make it a part of something else
_LARGE = "hundred|thousand|million|billion|trillion"


_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))

_ROMAN = {"I": 1, "V": 5, "X": 10}


def spoken(text: str) -> str:
    """The words of a piece of text; empty when there is nothing to say."""
    text = text.translate(SAME)
    for sign, figures in HALVES.items():
        text = text.replace(sign, f" {figures}")
    for pattern, said in _RULES:
        text = pattern.sub(said, text)
    text = _pronounceable(text)
    return text if any(letter.isalpha() for letter in text) else ""


def _pronounceable(text: str) -> str:
    """Without what no rule knew."""
    kept = []
    for letter in text:
        if letter in SIGNS:
            kept.append(SIGNS[letter])
        elif _is_latin(letter) or letter in "'-;:,.!?—…\"()“”":
            kept.append(letter)
        elif letter.isdecimal():
            kept.append(f" {cardinal(str(unicodedata.decimal(letter)))} ")
        elif unicodedata.category(letter) not in ("Mn", "Me", "Cf"):
            kept.append(" ")
    text = " ".join("".join(kept).split())
    for pattern, said in _TIDY:
        text = pattern.sub(said, text)
    return text.lstrip(" -,;:").rstrip(" -")


def _is_latin(letter: str) -> bool:
    # To the end of "Latin Extended-B".
    return letter.isalpha() and letter < "\u0250"


def _whole(figures: str) -> str:
    return figures.replace(",", "")


def _number(figures: str) -> str:
    """1,234.5 or 1234.5 in words; four figures alone are read as years and house numbers are."""
    plain = _whole(figures)
    if "." in plain:
        return decimal(plain)
    if "," not in figures and len(plain) == 4 and "1100" <= plain <= "2099":
        return year(plain)
    return cardinal(plain)


def _amount(figures: str) -> str:
    """The same where something is counted: 2024 is then two thousand twenty-four."""
    plain = _whole(figures)
    return decimal(plain) if "." in plain else cardinal(plain)


def _is_one(figures: str) -> bool:
    return figures == "1"


def _signed(sign: str | None) -> str:
    return "minus " if sign else ""


def _money(match: _Match) -> str:
    sign, figures, size = match["sign"], match["figures"], match["size"]
    one, many, cent, cents = CURRENCIES[sign]
    if size:
        return f"{_amount(figures)} {MAGNITUDES.get(size, size)} {many}"
    whole, _, rest = _whole(figures).partition(".")
    if len(rest) != 2 or not cent:
        return f"{_amount(figures)} {one if _is_one(figures) else many}"
    words = []
    if int(whole or "0") or rest == "00":
        words.append(f"{cardinal(whole or '0')} {one if whole == '1' else many}")
    if rest != "00":
        words.append(f"{cardinal(str(int(rest)))} {cent if rest == '01' else cents}")
    return " and ".join(words)


def _money_after(match: _Match) -> str:
    one, many = (CURRENCIES.get(match["sign"]) or CODES[match["sign"]])[:2]
    return f"{_amount(match['figures'])} {one if _is_one(match['figures']) else many}"


def _unit(match: _Match) -> str:
    if match["unit"] == "in" and re.search(r"\d\sin$", match[0]):
        return match[0]  # 2 in 5
    one, many = UNITS[match["unit"]]
    high = f" to {_amount(match['high'])}" if match["high"] else ""
    figures = match["figures"]
    alone = _is_one(figures) and not high
    return f"{_signed(match['minus'])}{_amount(figures)}{high} {one if alone else many}"


def _clock(match: _Match) -> str:
    hour, minute, half = match["hour"], match["minute"], match["half"]
    words = cardinal(str(int(hour)))
    if minute and minute != "00":
        words += f" oh {cardinal(minute[1])}" if minute[0] == "0" else f" {cardinal(minute)}"
    elif minute and not half:
        if int(hour) == 0 or int(hour) > 12:
            return f"{words} hundred" if int(hour) else "midnight"
        return f"{words} o'clock"
    return f"{words} {half[0].upper()}M" if half else words


def _seconds(match: _Match) -> str:
    return " ".join(
        cardinal(str(int(part))) if part[0] != "0" else f"oh {cardinal(part[1])}"
        for part in match.group(0).split(":")
    )


def _month(name: str) -> str:
    return next(month for month in MONTHS if name.startswith(month[:3]))


def _day(month: str, day: str, figures: str | None) -> str:
    said = f"{month} {ordinal(day.lstrip('0'))}"
    return f"{said}, {year(figures)}" if figures else said


def _iso_date(match: _Match) -> str:
    month = int(match["month"])
    return _day(MONTHS[month - 1], match["day"], match["year"])


def _slash_date(match: _Match) -> str:
    """As Americans write it, or as others do where it can be nothing else."""
    month, day = int(match[1]), int(match[2])
    if month > 12:
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    figures = match[3] if len(match[3]) == 4 else f"{'19' if match[3] > '50' else '20'}{match[3]}"
    return _day(MONTHS[month - 1], str(day), figures)


def _month_day(match: _Match) -> str:
    return _day(_month(match["month"]), match["day"], match["year"])


def _day_month(match: _Match) -> str:
    the = "" if match["the"] else "the "
    said = (
        f"{match['the'] or ''}{the}{ordinal(match['day'].lstrip('0'))} of {_month(match['month'])}"
    )
    return f"{said}, {year(match['year'])}" if match["year"] else said


def _decade(match: _Match) -> str:
    figures = match["century"] or ""
    tens = f"{match['tens']}0"
    if figures and tens == "00":
        return f"{plural(year(f'{figures}00'))}"
    return f"{cardinal(figures)} {plural(cardinal(tens))}" if figures else plural(cardinal(tens))


def _fraction(match: _Match) -> str:
    whole, above, below = match["whole"], match["above"], match["below"]
    if int(below) > 100 or int(below) < 2 or int(above) >= int(below):
        return f"{_number(whole) + ' ' if whole else ''}{cardinal(above)} over {cardinal(below)}"
    part, unit = fraction(above, below), ""
    if match["unit"]:
        unit = f" {UNITS[match['unit']][bool(whole)]}"
    if not whole:
        return part + unit
    return f"{cardinal(whole)} and {'a ' + part[4:] if int(above) == 1 else part}{unit}"


def _range(match: _Match) -> str:
    return f"{_number(match[1])} to {_number(match[2])}"


def _telephone(match: _Match) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    groups = re.findall(r"\d+", match[0])
    return plus + ", ".join(one_by_one(group) for group in groups)


def _dotted_numbers(match: _Match) -> str:
    parts = match[0].lstrip("v").split(".")
    if len(parts) == 4:  # an address of the internet
        return " dot ".join(one_by_one(part) for part in parts)
    return " point ".join(cardinal(part) for part in parts)


def _roman(letters: str) -> str:
    values = [_ROMAN[letter] for letter in letters]
    total = sum(
        -value if value < max(values[place + 1 :], default=0) else value
        for place, value in enumerate(values)
    )
    return str(total)


def _address(match: _Match) -> str:
    """A place on the internet: what matters of it, as one would read it to a friend."""
    address = re.sub(r"^(?:[a-z]+://)?(?:www\.)?", "", match[0], flags=re.IGNORECASE)
    address, end = _without_end(address)
    address = re.split(r"[?#]", address, maxsplit=1)[0].rstrip("/")
    return _spelled(address) + end


def _mail(match: _Match) -> str:
    return _spelled(match[0])


def _without_end(address: str) -> tuple[str, str]:
    bare = address.rstrip(".,;:!?)'\"")
    return bare, address[len(bare) :]


def _spelled(address: str) -> str:
    names = {".": " dot ", "/": " slash ", "@": " at ", "-": " dash ", "_": " underscore "}
    names |= {":": " colon ", "~": " tilde ", "+": " plus ", "%": " percent ", "=": " equals "}
    text = "".join(names.get(letter, letter) for letter in address)
    return re.sub(r"\d+", lambda figures: f" {_number(figures[0])} ", text)


def _dotted_letters(match: _Match) -> str:
    """U.S. as US, which is then spelled; the dot of a sentence's end stays."""
    letters = match[0].replace(".", "")
    return letters.upper() if len(letters) > 1 else match[0]


def _compile(*rules: tuple[str, Callable[[_Match], str] | str]) -> list[_Rule]:
    return [(re.compile(pattern), said) for pattern, said in rules]


def _words(table: dict[str, str]) -> str:
    return "|".join(re.escape(word) for word in sorted(table, key=len, reverse=True))


_MARKUP = _compile(
    (r"```[\w+-]{0,20}", " "),
    (r"!?\[([^\][]{0,300})\]\([^)\s]{0,500}\)", r"\1"),
    (r"</?[A-Za-z][^<>]{0,200}>", " "),
    (r"&(?:nbsp|amp|lt|gt|quot|#39);", " "),
    (r"(?m)^[ \t]{0,8}(?:#{1,6}|[-*+•▪◦‣>]|\d{1,3}[.)])[ \t]+", ""),
    (r"(?m)^[ \t]{0,8}(?:[-*_=][ \t]?){3,80}$", " "),
    (r"\*{1,3}(?=\S)|(?<!\w)_{1,3}(?=\S)|(?<=\S)[*_]{1,3}(?!\w)", ""),
    (r"\[\d{1,3}\]|[|\\{}\[\]•]|~~", " "),
    (r"\n\s*", ". "),
)

_NAMES = _compile(
    (r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63}){1,5}", _mail),
    (r"\b(?:https?|ftp)://[^\s<>\"]{1,300}|\bwww\.[^\s<>\"]{1,300}", _address),
    (
        r"\b(?:[A-Za-z0-9-]{1,40}\.){1,4}(?:com|org|net|edu|gov|io|ai|dev|co|uk|de|fr|info|app|me|tv)"
        r"(?:/[^\s<>\"]{0,200})?(?![\w@])",
        _address,
    ),
    (
        r"\b\w[\w-]{0,40}\.(?:py|txt|md|json|toml|yaml|csv|pdf|html|js|exe|zip|wav|png|jpg|docx|xlsx)\b",
        _mail,
    ),
    (r"(?<!\w)#(?=\d)", "number "),
    (r"(?<!\w)#(?=\w)", "hashtag "),
    (r"(?<!\w)@(?=\w)", "at "),
    (r"(?<!\S)(?::-?[)(DPp]|;-?\)|<3|:'\()(?!\S)", " "),
)

_SHORTENED = _compile(
    (rf"(?<!\w)(?:{_words(DOTTED)})(?!\w)", lambda match: DOTTED[match[0]]),
    (r"\bNo\.\s?(?=\d)", "number "),
    (rf"\b({_words(TITLES)})\.\s?(?=[A-Z])", lambda match: f"{TITLES[match[1]]} "),
    (r"\b(Mr|Mrs|Ms)\b\.?", lambda match: TITLES[match[1]]),
    (rf"\b({_words(DAYS)})\.(?=,?\s)", lambda match: DAYS[match[1]]),
    (r"\bPh\.?D\.?s?(?!\w)", "PHD"),
    (r"(?<=\d)\s?([AaPp])\.?\s?[Mm]\b\.?(?=\s+[a-z,]|[,;:?!)])", r" \1m"),
    (r"(?<=\d)\s?([AaPp])\.?\s?[Mm]\b(\.?)(?=\s*$)", r" \1m\2"),
    (r"(?<=\d)\s?([AaPp])\.[Mm]\.", r" \1m"),
    (r"\betc\.(?=\s+[A-Z])", "et cetera."),
    (rf"\b({_words(SHORT)})\.(?=\s*$)", lambda match: f"{SHORT[match[1]]}."),
    (rf"\b({_words(SHORT)})\.", lambda match: SHORT[match[1]]),
    (r"\b(St|Dr)\.(?=\s|$|,)", lambda match: {"St": "Street", "Dr": "Drive"}[match[1]]),
    (r"\b(?:[A-Za-z]\.){2,6}(?=\s*$|\s+[A-Z][a-z])", lambda match: f"{_dotted_letters(match)}."),
    (r"\b(?:[A-Za-z]\.){2,6}", _dotted_letters),
    (r"\b([A-Z])\.(?=\s+[A-Z])", r"\1"),
    (rf"\b({KINGS}) ([IVX]{{1,6}})\b", lambda m: f"{m[1]} the {ordinal(_roman(m[2]))}"),
    (rf"\b({COUNTED}) ([IVX]{{1,6}})\b", lambda m: f"{m[1]} {cardinal(_roman(m[2]))}"),
    (
        r"(?<=[a-z]) (II|III|IV|VI|VII|VIII|IX|XI|XII|XIII|XIV|XV|XVI)\b",
        lambda m: f" {_roman(m[1])}",
    ),
)

_DATES = _compile(
    (
        rf"{_ALONE}(?P<year>[12]\d{{3}})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01])"
        r"(?:T(?=\d))?(?![\d-])",
        lambda match: f"{_iso_date(match)} ",
    ),
    (rf"{_ALONE}(\d{{1,2}})/(\d{{1,2}})/([12]\d{{3}}|\d\d)(?![\d/])", _slash_date),
    (
        rf"\b(?P<month>{_MONTH})\s(?P<day>[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?"
        r"(?:,?\s(?P<year>[12]\d{3}))?(?![\d:]|\.\d|,\d)",
        _month_day,
    ),
    (
        rf"(?P<the>\bthe\s)?\b(?P<day>[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?\s(?:of\s)?"
        rf"(?P<month>{_MONTH})(?:,?\s(?P<year>[12]\d{{3}}))?(?![\w])",
        _day_month,
    ),
    (rf"\b(?:{_MONTH})(?=\s[12]\d{{3}}\b)", lambda match: _month(match[0])),
    (r"(?:\b(?P<century>1\d|20)|(?<!\w)'?)(?P<tens>\d)0'?s\b", _decade),
    (rf"{_ALONE}({_NUMBER})\s?(BCE|BC|CE|AD)\b", lambda match: f"{_number(match[1])} {match[2]}"),
    (
        r"\b(?P<hour>[01]?\d|2[0-3])(?:[:.](?P<minute>[0-5]\d))?\s?(?P<half>[AaPp])m\b",
        lambda match: _clock(match),
    ),
    (r"\b\d{1,2}:[0-5]\d:[0-5]\d\b", _seconds),
    (r"\b(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?P<half>)(?![\d:])", _clock),
)

_FIGURES = _compile(
    (
        r"(?<![\w.])\+?\d{0,3}[ .-]?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?!\d)|(?<![\w.-])\d{3}-\d{4}(?![\d-])",
        _telephone,
    ),
    (
        rf"(?:US)?(?P<sign>[$£€¥₹₩₿])\s?(?P<figures>{_DECIMAL})(?:\s?(?P<size>{_LARGE}|[kKMBT]|bn|[mb])\b)?",
        _money,
    ),
    (
        rf"{_ALONE}(?P<figures>{_DECIMAL})\s?(?P<sign>[$£€¥₹₩₿]|(?:{_words({c: c for c in CODES})})\b)",
        _money_after,
    ),
    (
        rf"{_ALONE}(?P<feet>\d)'\s?(?P<inches>\d{{1,2}})(?:\"|'')",
        lambda m: f"{cardinal(m['feet'])} foot {cardinal(m['inches'])}",
    ),
    (r"\b(?:v(?=\d))?\d{1,5}(?:\.\d{1,5}){2,5}\b", _dotted_numbers),
    (r"\bv(\d+\.\d+)\b", lambda match: f"version {decimal(match[1])}"),
    (
        rf"{_ALONE}(?P<minus>-)?(?P<figures>{_DECIMAL})(?:\s?[-–]\s?(?P<high>{_DECIMAL}))?[\s-]?"
        rf"(?P<unit>{_UNIT})(?![\w/²³])(?:\.(?=\s+[a-z]))?",
        lambda match: _unit(match),
    ),
    (
        rf"{_ALONE}(?!\dK)(?P<figures>{_DECIMAL})\s?(?P<size>[kKM]|bn)\b",
        lambda m: f"{_amount(m['figures'])} {MAGNITUDES[m['size']]}",
    ),
    (rf"\b({_NUMBER})(?:st|nd|rd|th)\b", lambda match: ordinal(_whole(match[1]))),
    (
        r"(?<![\w./])(?:(?P<whole>\d{1,4}) )?(?P<above>\d{1,3})/(?P<below>\d{1,3})"
        rf"(?:\s?(?P<unit>{_UNIT})(?![\w/]))?(?![\w/]|\.\d)",
        _fraction,
    ),
    (rf"{_ALONE}({_DECIMAL})[-–]({_DECIMAL})(?![\w-])", _range),
    (
        r"(?<=\d)x(?=\s(?:as|more|less|faster|slower|better|worse|bigger|larger|smaller)\b)",
        " times",
    ),
    (r"(?<=\d)\s?[x×*]\s?(?=\d)", " times "),
    (r"(?<=\d)\s[-–]\s(?=\d)", " minus "),
    (r"(?<=\d)\s?/\s?(?=\d)", " divided by "),
    (r"(?<=\d)\^2\b", " squared"),
    (r"(?<=\d)\^3\b", " cubed"),
    (r"(?<=\w)\^(?=\d)", " to the power of "),
    (rf"[~≈]\s?(?={_DECIMAL})", "about "),
    (rf"(?<![\w.,)])-(?={_DECIMAL})", "minus "),
    (rf"\b({_DECIMAL})\s({_LARGE})\b", lambda match: f"{_amount(match[1])} {match[2]}"),
    (rf"(?<![\d.])({_DECIMAL})", lambda match: f" {_number(match[1])} "),
)

_TIDY = _compile(
    (r'(?:(?<=\s)|(?<=^)|(?<=\())"(?=\S)', "“"),
    (r'"', "”"),
    (r"\s*(?:—|–|--+|(?<=\s)-(?=\s))\s*", " — "),
    (r"\.{3,}|(?:\. ){2,}\.", "…"),
    (r"([!?])[!?.]+", r"\1"),
    (r"\s+([;:,.!?…])", r"\1"),
    (r"([;:,])(?:\s*[;:,])+", r"\1"),
    (r"([.!?…])(?:\s*[.,;:])+", r"\1"),
    (r"[;:,—-]\s*([.!?…])", r"\1"),
    (r"\(\s*\)|“\s*”", ""),
    (r"(?<![A-Za-z])-|-(?![A-Za-z])", " "),
    (r"^[\s;:,.!?…—)”]+", ""),
    (r"\s{2,}", " "),
)

_RULES = [*_MARKUP, *_NAMES, *_SHORTENED, *_DATES, *_FIGURES]
