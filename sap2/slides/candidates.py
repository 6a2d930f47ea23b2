"""Keyword candidates on a deck's pages: names, terms and acronyms, each with its reason and usefulness."""

import copy
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from sap2.slides.names import INITIALS, is_full_name
from sap2.slides.unsayable import sayable
from sap2.slides.wordlists import GIVEN_NAMES, ORGANISATION_WORDS, PARTICLES

__all__ = ["Candidate", "Vocabulary", "page_candidates"]

# A word with the marks that belong to its spelling: don't, scikit-learn, GPT-4, AT&T, TCP/IP, C++, Node.js; without a
# genitive's s.
WORD = re.compile(
    rf"(?P<initials>(?<!\w){INITIALS}(?!\w))"
    r"|[A-Z]{1,3}/[A-Z]{1,3}(?![\w/])"
    r"|(?:[^\W_]|[\u0300-\u036f])(?:[^\W_]|[\u0300-\u036f]|[’'](?=[^\W_])(?![sS]\b)|[\-&·](?=[^\W_])|\.(?=(?:js|NET)\b))*"
    r"(?:\+\+|#)?"
)
ELISION = re.compile(r"(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|un|dell|all|nell|sull|dall)['’](?=\w)", re.IGNORECASE)
ELIDING = frozenset(["fr", "it", "ca"])
CITED = re.compile(r"([^\W\d_][\w’'-]+)(?=\s+et al\b|\s*[,(]\s*(?:19|20)\d\d[a-z]?\b)")
# A capitalised word that ends a line after other words, and a capitalised word that begins the next line.
LAST_WORD = re.compile(r"(?:([,;:(])|\s[a-zß-ÿ]\S*|&)\s+([A-ZÀ-Þ][^\W\d_]+)$")
FIRST_WORD = re.compile(r"([A-ZÀ-Þ][^\W\d_]+(?:-[A-ZÀ-Þ][^\W\d_]+)?)(?=[,;.)]|\s+[^\sA-ZÀ-Þ])")
PREFIXES = ("un", "re", "non", "sub", "pre", "mis", "over", "inter", "multi")
ENDINGS = (
    ("s", ""), ("es", ""), ("ies", "y"), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"), ("ly", ""), ("ally", ""),
    ("ness", ""), ("er", ""), ("er", "e"), ("ers", ""), ("ers", "e"), ("able", ""), ("able", "e"),
)  # fmt: skip
DERIVED = "en"  # the language of PREFIXES and ENDINGS; other languages use OTHER_ENDINGS
OTHER_ENDINGS = ("", "e", "er", "é", "es", "r", "re", "n", "en", "a", "ar", "o", "s", "t")
UNITS = frozenset("GHz MHz kHz Hz GB MB KB kB TB GiB MiB Mbps Gbps kW MW kWh mW dB".split())
CASELESS = frozenset(["ar", "bn", "fa", "he", "hi", "ta", "ur"])
OTHER_SCRIPTS = CASELESS | {"bg", "el", "mk", "ru", "uk"}
CONNECTING = frozenset("of for de di da do für fur des du della".split())  # University of Zurich
FOOTNOTE = re.compile(r"\b([A-ZÀ-Þ][\w.-]* [A-ZÀ-Þ][^\W\d_]+)\d{1,2}(?=\s*(?:[,;&]|and\b|$))")
OTHER_SCRIPT = re.compile(r"(?<=[A-Za-z])(?=[\u0370-\uffff])(?=\w)|(?<=[\u0370-\uffff])(?<=\w)(?=[A-Za-z])")
DEFINED = re.compile(r"((?:[A-Z][\w-]+ ){1,5}[A-Z][\w-]+) ?\(([A-Z]{2,6})s?\)")
MARKS = re.compile(r"[*∗†‡§¶˘´`¨]|(?<=[^\W\d_])[¹²³⁰-⁹]+")
ROMAN = re.compile(r"[IVXL]+")
ALONE = re.compile(r"[A-ZÀ-Þ][a-zß-ÿ’'-]+")  # a capitalised word that is a line
COLUMN = 3  # minimum lines of a column of names
LONGEST = 40  # maximum letters of a word
RARE = 3.0  # Zipf frequency (log10 per 1e9 words): less than one occurrence in a million words
UNCOMMON = 3.5  # a name of several words needs a word below this frequency
NAME = 4.6  # below this frequency a capitalised word may be a name
ACRONYM = 4.6  # above this frequency capitals are emphasis, or an acronym that every recogniser knows
JOINING = 5.8  # from this frequency on a word is a function word (the, with, and), which ends a name
NAME_WORDS = 5  # maximum words of a name
ACRONYM_LETTERS = 5  # maximum letters of a capitalised word that ends a name as an acronym
LONG_ACRONYM = 6  # letters above which capitals are more likely emphasis than an acronym
NOUNS_CAPITALISED = frozenset(["de"])
FULL, SINGLE, TERM, PART, WEAK = 5.0, 4.0, 3.0, 2.5, 1.0  # usefulness by kind, before count and rarity are added


@dataclass(frozen=True)
class Candidate:
    """A word or phrase, why it was extracted, and its usefulness to a recogniser (higher = more useful)."""

    text: str
    reason: str
    use: float


class Vocabulary:
    """Statistics of a deck's words: their counts in the deck, and their frequency in its languages."""

    def __init__(self, pages: Iterable[Sequence[str]], languages: Sequence[str]):
        self.languages = tuple(dict.fromkeys(languages))
        self.lower: Counter[str] = Counter()  # words in lower case
        self.counts: Counter[str] = Counter()  # casefolded words
        self.cited: set[str] = set()
        for page in pages:
            for line in map(sayable, page):
                words = [match.group() for match in WORD.finditer(line)]
                self.counts.update(word.casefold() for word in words)
                self.lower.update(word for word in words if word.islower())
                self.cited.update(CITED.findall(line))

    def with_language(self, language: str | None) -> "Vocabulary":
        """Return a copy that also uses the word frequencies of `language`."""
        if language is None or language in self.languages:
            return self
        other = copy.copy(self)
        other.languages = (*self.languages, language)
        return other

    def frequency(self, word: str) -> float:
        """Return a word's Zipf frequency: that of its rarest part, in the language where it is most common."""
        return max(_frequency(word, language) for language in self.languages)

    def stem_frequency(self, word: str) -> float:
        """Return the highest Zipf frequency of a word and its stems, such as subscribe for unsubscribed."""
        small = word.casefold()
        if "-" in small.strip("-"):
            return min(map(self.stem_frequency, filter(None, small.split("-"))))
        if not small.isalpha():
            return self.frequency(word)
        if self.languages[0] != DERIVED:
            ends = {small[:-cut] + end for cut in range(1, 6) for end in OTHER_ENDINGS if len(small) - cut > 3}
            return max(map(self.frequency, (small, *ends)))
        bare = [small, *(small[len(prefix) :] for prefix in PREFIXES if small.startswith(prefix))]
        stems = [form[: -len(ending)] + other for form in bare for ending, other in ENDINGS if form.endswith(ending)]
        return max([self.frequency(form) for form in (*bare, *stems) if len(form) > 3] or [self.frequency(word)])

    def ordinary(self, word: str) -> bool:
        """Whether a word, ignoring case, is a dictionary word rather than a name."""
        small = word.casefold()
        return (small in self.lower and self.frequency(word) > 0) or self.inflected(small)

    def written_small(self, word: str) -> bool:
        """Whether the deck has a word, or the word without its final s, in lower case."""
        small = word.casefold()
        return small in self.lower or (small.endswith("s") and small[:-1] in self.lower)

    def inflected(self, small: str) -> bool:
        """Whether English has inflected forms of a word, such as blocks of block; names and acronyms have none."""
        if len(small) < 4 or not small.isascii() or self.frequency(small) < UNCOMMON:
            return False
        forms = [small + "s", small + "es", small[:-1] + "ies", small + "ed", small + "ing", small[:-1]]
        forms = forms[:5] if not small.endswith("s") else forms
        return any(_frequency(form, "en") >= max(2.8, self.frequency(small) - 2) for form in forms)


def page_candidates(lines: Sequence[str], vocabulary: Vocabulary) -> Iterator[Candidate]:
    """Yield the candidates of a page's lines in reading order; a candidate may occur more than once."""
    plain = [_without_marks(sayable(line), vocabulary) for line in _unwrapped(lines, vocabulary)]
    for line, in_column in zip(plain, _in_column(plain, vocabulary), strict=True):
        if vocabulary.languages[0] in ELIDING:
            line = ELISION.sub("", line)
        yield from _Line(line, vocabulary, in_column).candidates()
        yield from _defined(line, vocabulary)


def _in_column(lines: Sequence[str], vocabulary: Vocabulary) -> list[bool]:
    """Return whether each line is in a column of names.

    A column is consecutive lines of one capitalised word each, of which at least two, and at least a quarter, are
    clearly names; one is enough if no line is a dictionary word. Elsewhere the capital of a line's first word says
    nothing. A page's first line is its title.
    """
    words = [line if number and ALONE.fullmatch(line) else "" for number, line in enumerate(map(str.strip, lines))]
    marks = [False] * len(words)
    for alone, group in groupby(range(len(words)), lambda index: bool(words[index])):
        column = list(group)
        if not alone or len(column) < COLUMN:
            continue
        names = [words[index] for index in column]
        clear = sum(name.casefold() in GIVEN_NAMES or vocabulary.stem_frequency(name) < RARE for name in names)
        if clear >= max(2, len(column) / 4) or (clear and not any(map(vocabulary.ordinary, names))):
            for index in column:
                marks[index] = True
    return marks


def _without_marks(line: str, vocabulary: Vocabulary) -> str:
    """Remove footnote marks (Chi Wang1, 1The code) and separate adjoining scripts (Pythonمن)."""
    line = OTHER_SCRIPT.sub(" ", FOOTNOTE.sub(r"\1", MARKS.sub("", line)))
    note = re.match(r"\d{1,2}([A-Z][a-z]+)\b", line)
    return line[note.start(1) :] if note and vocabulary.frequency(note[1]) >= 2.5 else line


def _unwrapped(lines: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """Join names that are split between two lines: "thanks to Kathryn" + "Zorvan and others"."""
    joined: list[str] = []
    for line in lines:
        before, after = LAST_WORD.search(joined[-1]) if joined else None, FIRST_WORD.match(line)
        if before and after and not vocabulary.ordinary(after[1]):
            listed = before[1] == "," and vocabulary.frequency(before[2]) < UNCOMMON > vocabulary.frequency(after[1])
            if listed or before[2].casefold() in GIVEN_NAMES:
                joined[-1] += f" {after[1]}"
                line = line[after.end() :].lstrip()
        joined.append(line)
    return joined


def _defined(line: str, vocabulary: Vocabulary) -> Iterator[Candidate]:
    """Yield names that are spelled out before their acronym: Sender Policy Framework (SPF)."""
    for match in DEFINED.finditer(line):
        words, acronym = match[1].split(), match[2]
        if len(words) >= len(acronym) and "".join(word[0] for word in words[-len(acronym) :]) == acronym:
            yield _ranked(" ".join(words[-len(acronym) :]), "name", TERM + 0.5, vocabulary)


class _Line:
    """The words of a line, and the runs of capitalised words among them."""

    def __init__(self, line: str, vocabulary: Vocabulary, in_column: bool = False):
        self.line, self.vocabulary, self.in_column = line, vocabulary, in_column
        self.words = [match for match in WORD.finditer(line) if len(match.group()) <= LONGEST]
        letters = [match.group() for match in self.words if match.group()[0].isalpha()]
        shouted = len(letters) > 1 and line.upper() == line and line.lower() != line
        self.shouted = shouted and any(_emphasised(word, vocabulary) for word in letters)  # otherwise a row of acronyms
        content = [word for word in letters if vocabulary.frequency(word) < JOINING]
        # In a heading, capitals do not mark names.
        self.heading = (
            len(content) > 1
            and content[0][0].isupper()
            and sum(word[0].isupper() for word in content) > 0.6 * len(content)
        )
        self.listing = self._lists_names()

    def candidates(self) -> Iterator[Candidate]:
        run: list[re.Match] = []
        for match in (*self.words, None):
            if run and (match is None or not self._continues(run, match)):
                yield from self._of_run(run)
                run = []
            if match is None:
                return
            if run or self._in_name(match, False):
                run.append(match)
            elif candidate := self._single(match.group(), self._starts(match)):
                yield candidate

    def _lists_names(self) -> bool:
        """Whether the line is a list of people's names."""
        parts = [part.strip(" .;&") for part in re.split(r",|;|\band\b|&", self.line) if part.strip()]
        named = [part for part in parts if is_full_name(part) and len(part.split()) <= 4]
        return len(named) >= 3 and len(named) >= 0.6 * len(parts) and not self._mostly_ordinary(named)

    def _mostly_ordinary(self, parts: Sequence[str]) -> bool:
        words = [word for part in parts for word in part.split()]
        return sum(map(self.vocabulary.ordinary, words)) > 0.5 * len(words)

    def _starts(self, match: re.Match) -> bool:
        if self.in_column:
            return False
        before = self.line[: match.start()].rstrip(" \"'“”‘’")
        return not before or before[-1] in ".!?:•|" or not any(map(str.isalpha, before))

    def _in_name(self, match: re.Match, begun: bool) -> bool:
        word = match.group()
        if self.shouted:
            return False
        if match["initials"]:
            return True
        if word in PARTICLES:
            return begun
        return word[0].isupper() and self.vocabulary.frequency(word) < JOINING

    def _continues(self, run: Sequence[re.Match], match: re.Match) -> bool:
        between = self.line[run[-1].end() : match.start()]
        if between.strip():
            return False
        if match.group() in CONNECTING and run[-1].group().casefold() in ORGANISATION_WORDS:
            return bool(re.match(r"\s+[^\W\d_a-z]", self.line[match.end() :]))
        if not self._in_name(match, True):
            return False
        # "Sebastian Raschka STAT", "W3C Immersive Web": capitals throughout end or begin another name.
        first, second = run[-1].group(), match.group()
        return not (_capitals(second) and first.istitle()) or len(second) > ACRONYM_LETTERS

    # ---- runs -------------------------------------------------------------------------------------------------

    def _of_run(self, run: Sequence[re.Match]) -> Iterator[Candidate]:
        starts = self._starts(run[0])
        run = [match for index, match in enumerate(run) if index == 0 or match.group() != run[index - 1].group()]
        words = [match.group() for match in run]
        initials = [bool(match["initials"]) for match in run]
        while words and words[-1] in PARTICLES | CONNECTING:
            words.pop()
            initials.pop()
        name = self._name(words, initials, starts)
        if name:
            yield self._candidate(name, "name", FULL)
        in_name = name.split()
        for index, word in enumerate(words):
            if word in PARTICLES | CONNECTING or initials[index]:
                continue
            candidate = self._single(word, starts and index == 0)
            if word in in_name and (not candidate or candidate.reason in ("name", "rare word")):
                yield from self._part(word, in_name, candidate is not None)
            elif candidate:
                yield candidate

    def _part(self, word: str, name: Sequence[str], notable: bool) -> Iterator[Candidate]:
        """Yield a word of a full name by itself: the family name, and words that the deck also uses alone."""
        given = word.casefold() in GIVEN_NAMES
        family = word == name[-1] and (self.listing or name[0].casefold() in GIVEN_NAMES)
        alone = self.vocabulary.counts[word.casefold()] > 1
        if (family and self.vocabulary.frequency(word) < NAME) or (notable and (alone or not given)):
            yield self._candidate(word, "part of a name", PART if word == name[-1] or alone else WEAK)

    def _name(self, words: list[str], initials: list[bool], starts: bool) -> str:
        """Return the name in a run of capitalised words; "" = it holds no name of several words."""
        if initials and initials[0] and not any(initials[1:]):
            return ""  # "J. Zorvan" is pronounced without its initial: the family name alone is the keyword
        if any(word.casefold() in ORGANISATION_WORDS for word in words) and words[0].casefold() not in GIVEN_NAMES:
            return " ".join(words) if 2 <= len(words) <= NAME_WORDS else ""
        return self._person(words, initials) or self._rare_name(words, starts)

    def _person(self, words: list[str], initials: list[bool]) -> str:
        """Return a person's name, from a given name on (in a list of people from the start), without ordinary words."""
        given = (index for index, word in enumerate(words) if word.casefold() in GIVEN_NAMES and not initials[index])
        first = 0 if self.listing else next(given, len(words))
        kept = words[first : first + NAME_WORDS]
        while kept and (
            self.vocabulary.written_small(kept[-1]) or kept[-1] in PARTICLES or len(kept[-1].rstrip(".")) == 1
        ):
            kept.pop()
        full = [word for word in kept if word not in PARTICLES and not word.endswith(".")]
        return " ".join(kept) if 2 <= len(full) <= 4 and self.vocabulary.frequency(full[-1]) < JOINING else ""

    def _rare_name(self, words: list[str], starts: bool) -> str:
        """Return capitalised words with a rare word among them; in headings all must be names."""
        vocabulary, kept = self.vocabulary, list(words)
        while kept and (vocabulary.ordinary(kept[-1]) or kept[-1].endswith(".")):
            kept.pop()
        if len(kept) > 2 and vocabulary.frequency(kept[-1]) >= 3.8 and max(map(vocabulary.frequency, kept[:-1])) < RARE:
            kept.pop()  # "Pitr Hansteen Numerous others"
        while kept and (vocabulary.ordinary(kept[0]) or (starts and vocabulary.frequency(kept[0]) >= 4)):
            kept.pop(0)
            starts = False
        if not 2 <= len(kept) < NAME_WORDS or not all(map(_plainly_capitalised, kept)):
            return ""  # OpenSMTPD, NASA: keywords by themselves
        rarest = min(map(vocabulary.frequency, kept))
        if self.heading and (rarest >= RARE or any(map(vocabulary.ordinary, kept))):
            return ""
        return " ".join(kept) if rarest < UNCOMMON else ""

    # ---- single words -----------------------------------------------------------------------------------------

    def _single(self, word: str, starts: bool) -> Candidate | None:
        """Return a single word as a candidate; None = it is not a keyword."""
        vocabulary = self.vocabulary
        if word.endswith(".") or word in PARTICLES:
            return None
        if not self.shouted and (kind := _spelling(word, vocabulary)):
            text, reason = kind
            use = SINGLE if reason == "spelling" and not _capitals(text) else TERM
            return self._candidate(text, reason, use) if text else None
        frequency = vocabulary.frequency(word)
        plain = "".join(filter(str.isalpha, word))
        if len(plain) < 3 or any(map(str.isdigit, word)) or not _pronounceable(plain):
            return None
        repeated = vocabulary.counts[word.casefold()] > 1
        capital = word[0].isupper() and not self.shouted
        if word in vocabulary.cited and capital and frequency < JOINING:
            return self._candidate(word, "name", SINGLE)
        if word.isascii() and vocabulary.languages[0] in OTHER_SCRIPTS:
            return self._candidate(word, "rare word", TERM)
        if frequency < RARE and (capital and frequency < 1.5 or vocabulary.stem_frequency(word) < RARE):
            if len(plain) < 4 and not (capital or repeated):
                return None
            named = capital and not starts and word.casefold() not in vocabulary.lower and not self._german()
            if named and (not self.heading or frequency < 1.5):
                return self._candidate(word, "name", SINGLE if frequency < 2 and not self.heading else TERM)
            if plain.lower() == plain.upper() and vocabulary.languages[0] in CASELESS:
                return None
            return self._candidate(word, "rare word", TERM - 0.5 if repeated and frequency < 2.5 else WEAK)
        given = word.casefold() in GIVEN_NAMES
        named = given or self.in_column or not (starts or self.heading or vocabulary.ordinary(word) or self._german())
        if capital and named and frequency < NAME:
            return self._candidate(word, "name", WEAK + 0.5)
        return None

    def _german(self) -> bool:
        return self.vocabulary.languages[0] in NOUNS_CAPITALISED

    def _candidate(self, text: str, reason: str, use: float) -> Candidate:
        return _ranked(text, reason, use, self.vocabulary)


def _ranked(text: str, reason: str, use: float, vocabulary: Vocabulary) -> Candidate:
    """Make a candidate whose usefulness grows with its rarity and with its count in the deck."""
    count = min((vocabulary.counts[word.casefold()] for word in text.split() if not word.endswith(".")), default=1)
    rarity = max(0.0, 5 - vocabulary.frequency(text.replace(" ", "-"))) / 10
    return Candidate(text, reason, use + rarity + 0.2 * math.log2(max(count, 1)))


def _plainly_capitalised(word: str) -> bool:
    return word in PARTICLES or (word.istitle() and not any(map(str.isdigit, word)))


def _capitals(word: str) -> bool:
    letters = list(filter(str.isalpha, word))
    return len(letters) > 1 and all(map(str.isupper, letters))


def _spelling(word: str, vocabulary: Vocabulary) -> tuple[str, str] | None:
    """Return an acronym, or a word of unpredictable spelling, with its reason.

    Returns: None = an ordinary word; ("", "") = not worth listing: never spoken, or known to every recogniser.
    """
    nothing = "", ""
    letters = "".join(filter(str.isalpha, word))
    digits = any(map(str.isdigit, word))
    if len(letters) < 2:
        model = re.fullmatch(r"[A-Z]\d{3,4}", word)  # A100
        return (word, "spelling") if model or (word[-1] in "+#" and letters and len(word) > 1) else nothing
    if acronyms := re.fullmatch(r"([A-Z]{2,5})s", word):
        word = letters = acronyms[1]
    if not digits and _capitals(word):
        if word.casefold() in GIVEN_NAMES:  # Jean DUPONT, ANNA
            return None
        return nothing if ROMAN.fullmatch(word) or _emphasised(word, vocabulary) else (word, "acronym")
    parts = word.split("-")
    if len(parts) > 1 and not digits:
        capitals = [part for part in parts if _capitals(part) and len(part) > 1]
        others = [part for part in parts if part not in capitals]
        if capitals and all(part.islower() or vocabulary.ordinary(part) for part in others):
            return (capitals[0], "acronym") if not _emphasised(capitals[0], vocabulary) else nothing
    if word in UNITS or re.search(r"[\u0370-\u03ff]", word):
        return nothing  # πLi
    if (base := re.fullmatch(r"([A-Z]{3,})[a-z]", word)) and vocabulary.counts[base[1].casefold()] > 1:
        return base[1], "acronym"  # QSLr, of QSL with an index
    if digits:
        if any(part.isalpha() and vocabulary.frequency(part) >= 4.3 for part in parts) and len(parts) > 1:
            return nothing  # Top-5
        if len(re.findall(r"\d+", word)) > 1 or (word[0].islower() and len(letters) < 3):
            return nothing  # q1Cq2, hD1
        known = re.fullmatch(r"([A-Z][a-z]+)\d+", word)
        if known and vocabulary.frequency(known[1]) >= NAME:
            return nothing  # July08
        series = re.fullmatch(r"([A-Z]{2,4})[0-9]", word)
        if series and all(vocabulary.counts[f"{series[1]}{number}".casefold()] for number in (1, 2)):
            return nothing  # ACC1, ACC2
        if re.match(r"\d", word) and not re.fullmatch(r"\d[A-Z][A-Za-z]{2,}", word):
            return nothing  # 19th, 5x2cv, 3.5GB, 20-year
        if re.fullmatch(r"[a-z]{3,}\d[a-z]{3,}", word):
            return word, "spelling"  # wav2vec
        return (word, "spelling") if not word.islower() and re.search(r"[A-Za-z]{2}|[A-Z]\d[A-Z]", word) else nothing
    inner = any(letter.isupper() for part in re.split(r"[-’'./&·]", word) for letter in part[1:])
    if inner or word[-1] in "+#" or "." in word:
        short = re.fullmatch(r"[a-z]{1,2}[A-Z][a-z]?", word)
        if len(letters) < 5 and word[0].islower() and vocabulary.frequency(word) < (3.5 if short else 1):
            return nothing  # hSi, of a formula
        if re.fullmatch(r"[A-Z][a-z]{2,}[A-Z]", word):
            return nothing  # ColA, ColB
        code = re.match(r"[a-zß-ÿ]{4,}[A-Z]", word)
        twice = re.search(r"([A-Z][a-z]{2,}).*\1", word)
        mistyped = re.fullmatch(r"[A-Z]{2}[a-z]{2,}", word) and vocabulary.frequency(word) >= 3.5
        return nothing if twice or mistyped or (code and vocabulary.frequency(word) < 2) else (word, "spelling")
    return None


def _emphasised(word: str, vocabulary: Vocabulary) -> bool:
    """Whether a word in capitals is an ordinary word (NOT, WITH, SECTION) rather than an acronym."""
    small = word.casefold()
    if "&" in word or "/" in word or "." in word:
        return False
    common = vocabulary.frequency(word)
    if len(word) > LONG_ACRONYM and common >= 2.5:
        return True
    return small in vocabulary.lower and common >= UNCOMMON or common >= ACRONYM or vocabulary.inflected(small)


def _pronounceable(letters: str) -> bool:
    """Whether letters can form a word: Latin letters without a vowel are a fragment or a command."""
    bare = letters.casefold()
    return not re.search(r"(.)\1\1", bare) and (not bare.isascii() or bool(re.search(r"[aeiouy]", bare)))


@lru_cache(maxsize=200_000)
def _frequency(word: str, language: str) -> float:
    from wordfreq import zipf_frequency

    parts = [part for part in re.split(r"[-/·.&]|[’']s?\b", word) if part]
    rarest = min((zipf_frequency(part, language) for part in parts), default=0.0)
    return max(rarest, zipf_frequency(word, language)) if "’" in word or "'" in word else rarest
