"""Pages to keywords, each with its page and the reason it was taken; and such lists as files that people edit."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from sap2.errors import InputError
from sap2.manifest import keyword_fault
from sap2.slides.reading import DEFAULTS, Deck, Options, read_deck

__all__ = [
    "Keyword", "deck_keywords", "keywords_json", "keywords_tsv", "languages", "read_keywords", "slides_keywords",
]  # fmt: skip

# A word with what its spelling needs (don't, scikit-learn, GPT-4, AT&T, C++, Node.js), and without a genitive's s.
WORD = re.compile(r"[^\W_](?:[^\W_]|[’'\-&./·](?=[^\W_])(?<![’'](?=[sS]\b))|[\u0300-\u036f])*(?:\+\+|#)?")
ADDRESS = re.compile(r"(?<!\S)\S*(?:://|@)\S*|www\.\S+")
LONGEST = 40  # letters of a keyword's word
RARE = 3.5  # Zipf frequency (log10 per 1e9 words) below which a word is rare: said less than 3 times in a million
NAME = 5.0  # below which a capitalised word may be a name (smith: 4.9)
JOINING = 5.8  # from which a word is grammar (the, with, and): it ends a name
PARTICLES = frozenset("van von der den de di da du la le el al bin ibn ter zu".split())
NAME_WORDS = 4
DIGITS = 5  # of a page's number in a list: several decks; a longer one is a typing error
MOST_LIST = 16 << 20  # bytes of a list: half a million keywords
COLUMNS = ("page", "keyword", "reason")
WITHOUT_SPACES = frozenset(["zh", "ja", "ko", "th"])  # their words cannot be told apart without a segmenter


@dataclass(frozen=True)
class Keyword:
    """A word or phrase to expect while a page is shown; pages count from 1, and 0 means all the time."""

    page: int
    keyword: str
    reason: str = "given"


def deck_keywords(deck: Deck, language: str = "en") -> list[Keyword]:
    """What on a deck's pages a recogniser would misspell, page by page, in reading order, each once a page.

    Names of several words come whole and, where they are rare, also as single words; the spelling is the page's.

    Args:
        language: Of the deck: rarity is that of `wordfreq`'s lists, such as en, de, fr or ru.
    Raises: InputError: there is no list for the language.

    >>> [(one.keyword, one.reason) for one in deck_keywords(Deck.of([["We thank Kathryn Zorvan for LoRA and NASA"]]))]
    [('Kathryn Zorvan', 'name'), ('Kathryn', 'rare word'), ('Zorvan', 'rare word'), ('LoRA', 'spelling'), \
('NASA', 'acronym')]
    """
    _check_language(language)
    found: dict[tuple[int, str], Keyword] = {}
    for page in deck.pages:
        named = ((name.strip(), page.reason) for name in page.given)
        for word, reason in (*named, *(one for line in page.lines for one in _candidates(line, language))):
            if not keyword_fault(word):
                found.setdefault((page.number, word.casefold()), Keyword(page.number, word, reason))
    return list(found.values())


def _candidates(line: str, language: str) -> Iterator[tuple[str, str]]:
    line = ADDRESS.sub(" | ", line)
    words = [one for one in WORD.finditer(line) if len(one.group()) <= LONGEST]
    shouted = len(words) > 1 and line.upper() == line  # a heading in capitals: its words are no acronyms
    run: list[re.Match] = []
    for place, match in enumerate([*words, None]):
        if run and (
            match is None or line[run[-1].end() : match.start()].strip() or not _in_name(match.group(), language)
        ):
            yield from _name(run, language, shouted)
            run = []
        if match is None:
            return
        word = match.group()
        if _in_name(word, language) and (run or word[0].isupper()) and not shouted:
            run.append(match)
        reason = _reason(word, language, shouted, starts=place == 0 or line[: match.start()].rstrip()[-1:] in ".!?:")
        if reason and not run:
            yield word, reason
    # What stands in a run is given by `_name`, after the run's own name.


def _name(run: Sequence[re.Match], language: str, shouted: bool) -> Iterator[tuple[str, str]]:
    words = [match.group() for match in run]
    while words and words[-1] in PARTICLES:
        words.pop()
    if 2 <= len(words) <= NAME_WORDS and min(_zipf(word, language) for word in words) < NAME:
        yield " ".join(words), "name"
    for place, word in enumerate(words):
        if reason := _reason(word, language, shouted, starts=place == 0 and run[0].start() == 0):
            yield word, reason


def _in_name(word: str, language: str) -> bool:
    return word in PARTICLES or (word[0].isupper() and _zipf(word, language) < JOINING)


def _reason(word: str, language: str, shouted: bool, starts: bool) -> str | None:
    """Why a single word is a keyword; None = it is none."""
    letters = [one for one in word if one.isalpha()]
    if len(letters) < 2 and not word.endswith(("+", "#")):
        return None if not (letters and any(map(str.isdigit, word))) else "spelling"
    if not shouted and all(map(str.isupper, word)):
        return "acronym"
    parts = re.split(r"[-’'./&·]", word)
    if not shouted and (
        any(one.isdigit() for one in word)
        or any(one.isupper() for part in parts for one in part[1:])
        or word[-1] in "+#"
    ):
        return "spelling"
    if _zipf(word, language) < RARE:
        return "rare word"
    return "name" if word[0].isupper() and not starts and not shouted and _zipf(word, language) < NAME else None


@lru_cache(maxsize=100_000)
def _zipf(word: str, language: str) -> float:
    """How common a word is; of a compound or inflected one (graph-based, Meyer's) its rarest part."""
    from wordfreq import zipf_frequency

    parts = [part for part in re.split(r"[-/·.&]|[’']s?\b", word) if part]
    return min((zipf_frequency(part, language) for part in parts), default=0.0)


def languages() -> list[str]:
    """Codes of the languages whose rare words are known."""
    from wordfreq import available_languages

    return sorted(set(available_languages()) - WITHOUT_SPACES)


def _check_language(language: str) -> None:
    if language not in (known := languages()):
        raise InputError(f"--language {language}: no word frequencies for it; expected one of {', '.join(known)}")


@dataclass(frozen=True)
class Listed:
    """The keywords of files, the text of each page (it tells when the page was shown), and what to tell people."""

    keywords: list[Keyword]
    texts: list[str]
    notices: list[str]


def slides_keywords(files: Sequence[Path], language: str = "en", options: Options = DEFAULTS) -> Listed:
    """The keywords of several files, each a deck, what stands beside one, or a list: see `read_keywords`.

    The pages of decks and lists count on. Text, Markdown and HTML are a deck only where nothing else has pages and they
    have more than one; else, and for people and references always, their keywords are those of page 0.

    Raises: InputError: a file cannot be used.
    """
    read = [(path, _read(path, options)) for path in files]
    shown = any(one.slides if isinstance(one, Deck) else any(row.page for row in one) for _, one in read)
    found = Listed([], [], [])
    for path, one in read:
        before = len(found.texts)
        if isinstance(one, Deck):
            if not one.slides and (shown or len(one.pages) < 2):
                one = one.without_pages()
            keywords = deck_keywords(one, language)
            found.texts.extend("\n".join(page.lines) for page in one.pages if page.number)
            found.notices.extend(f"{path}: {notice}" for notice in one.notices)
        else:
            keywords = one
            pages: list[list[str]] = [[] for _ in range(max((row.page for row in one), default=0))]
            for row in one:
                if row.page:
                    pages[row.page - 1].append(row.keyword)
            found.texts.extend(map("\n".join, pages))
        found.keywords.extend(replace(row, page=row.page + before) if row.page else row for row in keywords)
    return found


def _read(path: Path, options: Options) -> Deck | list[Keyword]:
    if path.suffix.lower() in (".tsv", ".json") and path.is_file():
        if (size := path.stat().st_size) > MOST_LIST:
            raise InputError(f"{path}: has {size >> 20} MB, expected a list of at most {MOST_LIST >> 20}")
        try:
            listed = read_keywords(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError):
            listed = None  # `read_deck` says why
        if listed is not None:
            return listed
    return read_deck(path, options)


def keywords_tsv(keywords: Iterable[Keyword]) -> str:
    """A table with a heading: page, keyword, reason."""
    rows = [COLUMNS, *((str(one.page), one.keyword, one.reason) for one in keywords)]
    return "".join("\t".join(row) + "\n" for row in rows)


def keywords_json(keywords: Iterable[Keyword]) -> str:
    """The same as JSON, an object a line within one list."""
    rows = (json.dumps(asdict(one), ensure_ascii=False) for one in keywords)
    return "[\n" + ",\n".join(rows) + "\n]\n"


def read_keywords(text: str, where: str, headed: bool = True) -> list[Keyword] | None:
    """A list that `sap2 keywords` wrote and a person may have edited; None = it is something else.

    Args:
        headed: Whether a table's first line names its columns; else it is always taken for a table.

    The reason may be left out. Raises: InputError: a row cannot be used; the message names its line or number.
    """
    if headed and text.lstrip("\ufeff").lstrip().startswith("["):
        try:
            rows = json.loads(text.lstrip("\ufeff"))
        except (ValueError, RecursionError):
            return None
        if not all(isinstance(row, dict) for row in rows):
            return None
        return [_row(row, f"{where}: entry {number}") for number, row in enumerate(rows, start=1)]
    columns = None if headed else COLUMNS
    table = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), columns, delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        heading = list(table.fieldnames or ())
    except csv.Error:  # a line end of old within it
        return None
    if heading[:2] != list(COLUMNS[:2]):
        return None
    try:
        return [_row(row, f"{where}:{table.line_num}") for row in table if any(filter(None, row.values()))]
    except csv.Error as error:
        raise InputError(f"{where}:{table.line_num + 1}: {error}; a keyword is a few words") from error


def _row(row: dict, where: str) -> Keyword:
    page, keyword = str(row.get("page")), unicodedata.normalize("NFC", str(row.get("keyword") or "")).strip()
    if not page.isdecimal() or len(page) > DIGITS:
        raise InputError(
            f"{where}: page is {page[:20]!r}, expected a number of up to {DIGITS} digits (0: all the time)"
        )
    if fault := keyword_fault(keyword):
        raise InputError(f"{where}: {fault}")
    return Keyword(int(page), keyword, " ".join(str(row.get("reason") or "given").split()))
