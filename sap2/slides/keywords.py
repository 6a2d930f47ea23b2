"""Pages to keywords, each with its page and the reason it was taken; and such lists as files that people edit."""

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sap2.errors import InputError
from sap2.manifest import keyword_fault
from sap2.slides.candidates import Vocabulary, page_candidates
from sap2.slides.languages import check_language, guess_language, languages, script_without_words, without_script
from sap2.slides.reading import DEFAULTS, Deck, Options, read_deck
from sap2.slides.spoken import spoken_form

__all__ = [
    "Keyword", "deck_keywords", "keywords_json", "keywords_tsv", "languages", "read_keywords", "slides_keywords",
]  # fmt: skip

DEFAULT_LANGUAGE = "en"
DIGITS = 5  # of a page's number in a list: several decks; a longer one is a typing error
MOST_LIST = 16 << 20  # bytes of a list: half a million keywords
COLUMNS = ("page", "keyword", "reason", "spoken")
GIVEN = 9.0  # use of what a file or a person lists: more than that of anything extracted


@dataclass(frozen=True)
class Keyword:
    """A word or phrase to expect while a page is shown; pages count from 1, and 0 means all the time.

    Args:
        spoken: How it is said, where that differs from how it is written.
        use: How much a recogniser needs it, compared with others of the same files; not part of a written list.
    """

    page: int
    keyword: str
    reason: str = "given"
    spoken: str = ""
    use: float = field(default=GIVEN, compare=False, repr=False)


def deck_keywords(deck: Deck, language: str | None = "en") -> list[Keyword]:
    """What on a deck's pages a recogniser would misspell, page by page, the most useful first, each once a page.

    Names come first (people, products, organisations), then terms and acronyms, then rare words. Names of several words
    come whole and, where they are rare, also as single words; the spelling is the page's.

    Args:
        language: Of the deck: rarity is that of `wordfreq`'s lists, such as en, de, fr or ru; None = it is guessed.
    Raises: InputError: there is no list for the language.

    >>> [(one.keyword, one.reason) for one in deck_keywords(Deck.of([["We thank Kathryn Zorvan for LoRA and NASA"]]))]
    [('Kathryn Zorvan', 'name'), ('LoRA', 'spelling'), ('NASA', 'acronym'), ('Zorvan', 'part of a name')]
    """
    language = language or guess_language(_text(deck)) or DEFAULT_LANGUAGE
    check_language(language)
    vocabulary = Vocabulary((page.lines for page in deck.pages), [language, DEFAULT_LANGUAGE])
    best: dict[tuple[int, str], Keyword] = {}
    for page in deck.pages:
        named = [Keyword(page.number, name.strip(), page.reason) for name in page.given]
        lines, text = page.lines, "\n".join(page.lines)
        if script := script_without_words(text):
            lines = [without_script(line, script) for line in lines]
        found = page_candidates(lines, vocabulary.beside(guess_language(text)))
        for keyword in (*named, *(Keyword(page.number, one.text, one.reason, use=one.use) for one in found)):
            key = keyword.page, keyword.keyword.casefold()
            if not keyword_fault(keyword.keyword) and (key not in best or keyword.use > best[key].use):
                best[key] = replace(keyword, spoken=spoken_form(keyword.keyword, language))
    return sorted(best.values(), key=lambda one: (one.page, -one.use))


def _text(deck: Deck) -> str:
    return "\n".join(line for page in deck.pages for line in page.lines)


@dataclass(frozen=True)
class Listed:
    """The keywords of files, their pages, and what to tell people.

    Args:
        texts: The text of each page; it tells when the page was shown.
        notices: What was dropped or guessed.
        sources: Of each page its file, and its number in it.
        used: What each file gave: pages, keywords, language.
    """

    keywords: list[Keyword]
    texts: list[str]
    notices: list[str]
    sources: list[tuple[Path, int]] = field(default_factory=list)
    used: list[str] = field(default_factory=list)


def slides_keywords(
    files: Sequence[Path], language: str | None = None, options: Options = DEFAULTS, most: int | None = None
) -> Listed:
    """The keywords of several files, each a deck, what stands beside one, or a list: see `read_keywords`.

    The pages of decks and lists count on. Text, Markdown and HTML are a deck only where nothing else has pages and they
    have more than one; else, and for people and references always, their keywords are those of page 0.

    Args:
        language: Of the decks; None = that of each is guessed, and a notice says which where it is not English.
        most: How many different keywords are kept: the most useful ones of all files.
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
            found.notices.extend(f"{path}: {notice}" for notice in _language_notices(_text(one), language))
            if not keywords:
                found.notices.append(f"{path}: no keywords were found in it")
            texts = ["\n".join(page.lines) for page in one.pages if page.number]
            found.notices.extend(f"{path}: {notice}" for notice in one.notices)
            found.used.append(f"{path}: {_counted(texts, keywords)}{_language(one, language)}")
        else:
            keywords = one
            pages: list[list[str]] = [[] for _ in range(max((row.page for row in one), default=0))]
            for row in one:
                if row.page:
                    pages[row.page - 1].append(row.keyword)
            texts = list(map("\n".join, pages))
            found.used.append(f"{path}: {_counted(texts, keywords)}, as listed")
        found.texts.extend(texts)
        found.sources.extend((path, number) for number in range(1, len(texts) + 1))
        found.keywords.extend(replace(row, page=row.page + before) if row.page else row for row in keywords)
    return found if most is None else replace(found, keywords=best_keywords(found.keywords, most))


def _counted(texts: Sequence[str], keywords: Sequence[Keyword]) -> str:
    different = len({one.keyword.casefold() for one in keywords})
    pages = f"{len(texts)} page{'' if len(texts) == 1 else 's'}, " if texts else ""
    return f"{pages}{different} keyword{'' if different == 1 else 's'}"


def _language(deck: Deck, language: str | None) -> str:
    """The language that a deck was read as, and why; nothing of lists of names, which have none."""
    if language:
        return f", language {language}"
    if guessed := guess_language(_text(deck)):
        return f", language {guessed}, as guessed"
    return f", language {DEFAULT_LANGUAGE}, assumed" if deck.slides else ""


def best_keywords(keywords: Sequence[Keyword], most: int) -> list[Keyword]:
    """The rows of the `most` most useful of different keywords, in their order.

    >>> [one.keyword for one in best_keywords(deck_keywords(Deck.of([["NASA and Jon Zorvan"], ["of NASA"]])), 1)]
    ['Jon Zorvan']
    """
    use: dict[str, float] = {}
    for one in keywords:
        use[one.keyword.casefold()] = max(one.use, use.get(one.keyword.casefold(), 0.0))
    kept = set(sorted(use, key=lambda word: -use[word])[:most])
    return [one for one in keywords if one.keyword.casefold() in kept]


def _language_notices(text: str, language: str | None) -> Iterator[str]:
    guessed = guess_language(text)
    if script := script_without_words(text):
        yield f"the words of {script} cannot be told apart; only words in other scripts were taken"
    elif language is None and guessed not in (None, DEFAULT_LANGUAGE):
        yield f"language {guessed}, as guessed; if it is another, give --language"
    elif language and guessed and guessed != language:
        yield f"reads like language {guessed}, not like {language}, which was given"


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
    """A table with a heading: page, keyword, reason, and how it is said where that differs."""
    rows = [COLUMNS, *((str(one.page), one.keyword, one.reason, one.spoken) for one in keywords)]
    return "".join("\t".join(row).rstrip("\t") + "\n" for row in rows)


def keywords_json(keywords: Iterable[Keyword]) -> str:
    """The same as JSON, an object a line within one list."""
    rows = (json.dumps({key: getattr(one, key) for key in COLUMNS}, ensure_ascii=False) for one in keywords)
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
        if not all(isinstance(row, dict) for row in rows) or (rows and not any("keyword" in row for row in rows)):
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
    reason, spoken = (" ".join(str(row.get(name) or "").split()) for name in COLUMNS[2:])
    return Keyword(int(page), keyword, reason or "given", spoken)
