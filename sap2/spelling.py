"""Conversion of keywords from their written form to the form a base reads, and back in transcripts.

    list "Dr. Meyer", "GPT-4" --read as--> "meyer", "gpt four" --model--> "ask doctor meyer about gpt four"
                                                     --restored--> "ask Dr. Meyer about GPT-4"

A base trained on lower-case words of the letters a to z and apostrophes, such as the embedded base, only knows keywords
in that form. The field `spelling` of a base's processor_config.json states the form it reads: `folded`;
`folded-possessive`, which keeps the ending of "Meyer's"; or `as-given` as with Qwen2-Audio. Scripts without the letters
a to z keep their characters, in lower case.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

__all__ = [
    "AS_GIVEN",
    "FOLDED",
    "FOLDED_POSSESSIVE",
    "SPELLINGS",
    "ReadList",
    "Words",
    "composed",
    "forms",
    "occurrences",
    "outermost",
]

AS_GIVEN, FOLDED, FOLDED_POSSESSIVE = "as-given", "folded", "folded-possessive"
SPELLINGS = (AS_GIVEN, FOLDED, FOLDED_POSSESSIVE)

Words = tuple[str, ...]
Value = TypeVar("Value")

# Words for symbols. Any other character that is not a letter, mark or digit separates words.
SYMBOLS = {"&": "and", "+": "plus", "@": "at", "%": "percent", "#": "sharp", "*": "star", "=": "equals"}
# Letters that Unicode does not decompose into a letter of a to z and a mark.
LETTERS = str.maketrans({"ø": "o", "ł": "l", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h"})
# A title may be omitted in speech: "Dr. Meyer" is read as "meyer". A title written out may be part of a name.
TITLES = {"dr": "doctor", "prof": "professor", "mr": "mister", "mrs": "missus", "ms": "miss"}

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()

_APOSTROPHES, _HYPHENS = "'’ʼ", "\u2010\u2011-"
_SEPARATORS = (
    r"\s!\"$(),./:;<>?\[\\\]^_`{|}~¡¢£¥¦§©«¬®°±·»¿€™"
    r"\u2012-\u2018\u201a-\u2026\u2030-\u203e\u3000-\u3003\u3008-\u301f"
)
# Consecutive letters, marks, digits, symbols, hyphens and apostrophes, and the point of "3.5": a unit for keywords.
_STRETCH = re.compile(rf"(?:[^{_SEPARATORS}]|(?<=\d)\.(?=\d))+")
_EDGES = f"{_APOSTROPHES}{_HYPHENS}"  # stripped from both ends of a stretch
_GAP = re.compile(r"\s+|[./:_·\u2013]\s?")  # allowed between two stretches of a keyword
_PART = re.compile(rf"\d+(?:\.\d+)*|[^\d\s'.{_HYPHENS}]+(?:'[^\d\s'.{_HYPHENS}]+)*")
_MARKED_LETTER = re.compile("([a-z])[\u0300-\u036f]+")
_PLAIN = re.compile("[a-z]+(?: [a-z]+)*")
_POSSESSIVE = re.compile(rf"(?<=\S)[{_APOSTROPHES}]s$", re.IGNORECASE)
_HYPHEN = re.compile(rf"[^\W\d_][{_HYPHENS}](?=[^\W\d_])")
# The possessive of "James'" or the end of a quotation, as in "said'"; the apostrophe of "goin'" is spelling.
_CLOSING = re.compile(rf"(?<=\w)(?<!in)[{_APOSTROPHES}]$", re.IGNORECASE)
_QUOTED = re.compile(r'"(.+)"|[“„](.+)[“”]|«(.+)»|[\'‘](.+)[\'’]')


class _Stretch(NamedTuple):
    """A stretch of a text: its position, and the words it is read as."""

    start: int
    end: int
    words: Words


class ReadList:
    """A keyword list in the form a base reads, with the conversion of the base's answers back to the list.

    Keywords with the same reading are passed to the base once and selected together; the spelling of the first is
    written. A keyword with a hyphen is read both as two words and as one.

    >>> listed = ReadList(["Kathryn Meyer", "GPT-4", "GPT 4"], FOLDED)
    >>> listed.read
    ['kathryn meyer', 'gpt four']
    >>> listed.scores({"gpt four": -0.5})
    {'GPT-4': -0.5, 'GPT 4': -0.5}
    >>> listed.restored("kathryn meyer's slide on gpt four", listed.read)
    "Kathryn Meyer's slide on GPT-4"

    Args:
        spelling: The base's form: one of `SPELLINGS`.
        read_as: What each keyword is read as, if that is known.
    """

    def __init__(self, keywords: Iterable[str], spelling: str, read_as: Mapping[str, tuple[str, ...]] | None = None):
        self._folded = spelling != AS_GIVEN
        if read_as is None:
            words = list(dict.fromkeys(keywords))
            read_as = (
                _folded(words, spelling == FOLDED_POSSESSIVE)
                if self._folded
                else {word: (_tidy(word),) for word in words}
            )
        self.read_as, self.keywords = read_as, list(read_as)
        self._places: dict[str, list[int]] = {}  # by form, of the keywords that are read so
        for place, several in enumerate(read_as.values()):
            for form in several:
                self._places.setdefault(form, []).append(place)
        self.read = list(self._places)

    def scores(self, read: Mapping[str, float]) -> dict[str, float]:
        """The scores of keywords in the base's form as those of the list's, in its order."""
        return {word: max(read[form] for form in self.read_as[word] if form in read) for word in self.given(read)}

    def given(self, read: Collection[str]) -> list[str]:
        """The list's keywords that keywords in the base's form stand for, in its order."""
        return [
            self.keywords[place] for place in sorted({place for form in read for place in self._places.get(form, ())})
        ]

    def restored(self, text: str, read: Collection[str]) -> str:
        """Replace keywords (given in the base's form) in the base's text by the list's spelling.

        Only whole words are replaced; a possessive ending is kept.
        """
        words = self.given(read) if self._folded else []
        if all(_PLAIN.fullmatch(word) and self.read_as[word] == (word,) for word in words):
            return text
        spelt: dict[Words, str] = {}
        for word in words:
            spelt.setdefault(*forms(word)[-1])
        for word in words:
            for said, written in forms(word):
                spelt.setdefault(said, written)
        out, last = "", 0
        for start, end, written in outermost(occurrences(text, spelt)):
            out, last = out + text[last:start] + written, end
        return out + text[last:]


@lru_cache(maxsize=1 << 16)
def forms(keyword: str) -> tuple[tuple[Words, str], ...]:
    """Return the word sequences that a keyword may have in a text, each with its spelling; the last form is read.

    >>> for words, written in (*forms("Dr. Meyer's"), *forms("Jean-Luc")): print(*words, "|", written)
    doctor meyer | Dr. Meyer
    dr meyer | Dr. Meyer
    meyer | Meyer
    jeanluc | Jean-Luc
    jean luc | Jean-Luc
    >>> [" ".join(forms(word)[-1][0]) for word in ("O’Neil", "GPT-3.5", "C++", "AT&T", "H2O", "2024")]
    ["o'neil", 'gpt three point five', 'c plus plus', 'at and t', 'h two o', 'twenty twenty four']

    Acronyms are a single word: the embedded base, trained on single-word names, selects `dna` in 5 of 6 sentences that
    spell the letters, and `d n a` in none.
    """
    written = _CLOSING.sub("", _POSSESSIVE.sub("", _unquoted(_tidy(keyword))))
    stretches = _stretches(written)
    if not stretches:
        return (((written.casefold(),), written),)
    title = " ".join(stretches[0].words)
    if title in TITLES and len(stretches) > 1:
        name = stretches[1].start
        rest, said = forms(written[name:]), (TITLES[title], title)
        return *(((prefix, *words), written[:name] + spelt) for prefix in said for words, spelt in rest), *rest
    words = tuple(word for stretch in stretches for word in stretch.words)
    joined = tuple("".join(stretch.words).replace("'", "") for stretch in stretches)
    return *([(joined, written)] if joined != words else []), (words, written)


def occurrences(
    text: str, wanted: Mapping[Words, Value], longest: int | None = None
) -> Iterator[tuple[int, int, Value]]:
    """Yield start, end (without a possessive ending) and value of word sequences in a text, in any spelling.

    >>> list(occurrences("ask o'neil about GPT-4's size", {("o'neil",): 1, ("gpt", "four"): 2}))
    [(4, 10, 1), (17, 22, 2)]

    Occurrences may overlap: see `outermost`.

    Args:
        longest: Words of the longest of `wanted`, if it is known.
    """
    stretches, longest = _stretches(text), max(map(len, wanted), default=0) if longest is None else longest
    for index, first in enumerate(stretches):
        words: tuple[str, ...] = ()
        before = None
        for stretch in stretches[index : index + longest]:
            if before is not None and not _GAP.fullmatch(text, before.end, stretch.start):
                break
            words, before = (*words, *stretch.words), stretch
            if words in wanted:
                yield first.start, stretch.end, wanted[words]
            elif words[-1].endswith("'s") and (stem := (*words[:-1], words[-1][:-2])) in wanted:
                yield first.start, stretch.end - 2, wanted[stem]


def outermost(spans: Iterable[tuple[int, int, Value]]) -> Iterator[tuple[int, int, Value]]:
    """Drop overlapping occurrences: keep the first, and the longest of those with the same start."""
    last = 0
    for start, end, value in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= last:
            yield start, end, value
            last = end


def composed(text: str) -> str:
    """Normalise a text to NFC, so that accents are part of their letters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _folded(keywords: Sequence[str], possessive: bool) -> dict[str, tuple[str, ...]]:
    """Map each keyword to its readings. "Meyer's" is read as "meyer", unless `possessive` or "Meyer" is listed too."""
    read_as = {word: _readings(word) for word in keywords}
    possessives = [word for word in keywords if _POSSESSIVE.search(_unquoted(_tidy(word)))]
    if possessives:
        others = {read_as[word] for word in read_as.keys() - set(possessives)}
        for word in possessives:
            if possessive or read_as[word] in others:
                read_as[word] = tuple(f"{form}'s" for form in read_as[word])
    return read_as


@lru_cache(maxsize=1 << 16)
def _readings(keyword: str) -> tuple[str, ...]:
    several = forms(keyword)
    last = several[-2:] if len(_HYPHEN.findall(keyword)) == 1 else several[-1:]
    return tuple(" ".join(words) for words, _ in reversed(last))


def _tidy(keyword: str) -> str:
    return composed(" ".join(keyword.split()))


def _unquoted(keyword: str) -> str:
    quoted = _QUOTED.fullmatch(keyword)
    return next(filter(None, quoted.groups())).strip() if quoted else keyword


def _stretches(text: str) -> list[_Stretch]:
    stretches = []
    for match in _STRETCH.finditer(text):
        whole = match.group()
        start = match.start() + len(whole) - len(whole.lstrip(_EDGES))
        stretch = whole.strip(_EDGES)
        if words := _read(stretch):
            stretches.append(_Stretch(start, start + len(stretch), words))
    return stretches


@lru_cache(maxsize=1 << 16)
def _read(stretch: str) -> Words:
    """Return the words that a stretch is read as."""
    if _PLAIN.fullmatch(stretch):
        return (stretch,)
    if (stem := _POSSESSIVE.sub("", stretch)) != stretch:
        *words, last = _read(stem) or ("",)
        return (*words, f"{last}'s")
    text = re.sub(f"[{_APOSTROPHES}]", "'", stretch)
    text = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    text = unicodedata.normalize("NFC", _MARKED_LETTER.sub(r"\1", text)).translate(LETTERS)
    text = "".join(f" {SYMBOLS[letter]} " if letter in SYMBOLS else letter for letter in text)
    parts = (_number(part) if part[0].isdecimal() else [part] for part in _PART.findall(text))
    return tuple(word for words in parts for word in words if any(map(str.isalnum, word)))


def _number(text: str) -> list[str]:
    """Spell a number as in names and years; digits after a point, and more than four digits, individually.

    >>> [" ".join(_number(digits)) for digits in ("42", "365", "101", "2005", "007", "3.14")]
    ['forty two', 'three sixty five', 'one oh one', 'two thousand five', 'zero zero seven', 'three point one four']
    """
    whole, *decimals = text.split(".")
    words = _whole_number(whole)
    for digits in decimals:
        words += ["point", *(ONES[int(digit)] for digit in digits)]
    return words


def _whole_number(digits: str) -> list[str]:
    if len(digits) > 4 or (len(digits) > 1 and int(digits[0]) == 0):
        return [ONES[int(digit)] for digit in digits]
    number = int(digits)
    if number < 20:
        return [ONES[number]]
    hundreds, rest = divmod(number, 100)
    if not hundreds:
        return [TENS[rest // 10], *([ONES[rest % 10]] if rest % 10 else [])]
    if number >= 1000 and hundreds % 10 == 0 and rest < 10:
        return [ONES[hundreds // 10], "thousand", *(_whole_number(str(rest)) if rest else [])]
    if rest >= 10:
        return [*_whole_number(str(hundreds)), *_whole_number(str(rest))]
    return [*_whole_number(str(hundreds)), *(["oh", ONES[rest]] if rest else ["hundred"])]
