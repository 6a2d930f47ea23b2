"""Extraction of keywords from pages, each with its page and reason; reading and writing of editable keyword lists."""

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
DIGITS = 5  # maximum digits of a page number in a list; a longer number is a typing error
MAX_LIST = 16 << 20  # bytes of a list, enough for half a million keywords
COLUMNS = ("page", "keyword", "reason", "spoken")
GIVEN = 9.0  # usefulness of listed keywords: above that of any extracted keyword


@dataclass(frozen=True)
class Keyword:
    """A word or phrase that is likely to be spoken while a page is shown.

    Args:
        page: Number of the page, from 1 on; 0 = expected during the entire talk.
        spoken: Its pronunciation in words, if that differs from its spelling.
        use: Its usefulness to a recogniser, relative to others of the same files; not part of a written list.
    """

    page: int
    keyword: str
    reason: str = "given"
    spoken: str = ""
    use: float = field(default=GIVEN, compare=False, repr=False)


def deck_keywords(deck: Deck, language: str | None = "en") -> list[Keyword]:
    """Extract the words and phrases of a deck that a recogniser would misspell, page by page, the most useful first.

    Names come first (people, products, organisations), then terms and acronyms, then rare words. A name of several
    words is a keyword, and so are its rare words. The spelling is that of the page; a keyword occurs once per page.

    Args:
        language: Language of the deck, such as en, de, fr or ru, which selects word frequencies; None = guess it.
    Raises: InputError: there are no word frequencies for the language.

    >>> [(row.keyword, row.reason) for row in deck_keywords(Deck.of([["We thank Kathryn Zorvan for LoRA and NASA"]]))]
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
            lines = tuple(without_script(line, script) for line in lines)
        candidates = page_candidates(lines, vocabulary.with_language(guess_language(text)))
        extracted = (
            Keyword(page.number, candidate.text, candidate.reason, use=candidate.use) for candidate in candidates
        )
        for keyword in (*named, *extracted):
            key = keyword.page, keyword.keyword.casefold()
            if not keyword_fault(keyword.keyword) and (key not in best or keyword.use > best[key].use):
                best[key] = replace(keyword, spoken=spoken_form(keyword.keyword, language))
    return sorted(best.values(), key=lambda keyword: (keyword.page, -keyword.use))


def _text(deck: Deck) -> str:
    return "\n".join(line for page in deck.pages for line in page.lines)


@dataclass(frozen=True)
class Listed:
    """The keywords and pages of files, and notices for the user.

    Args:
        texts: The text of each page, from which its time can be estimated.
        notices: Content that was dropped, and settings that were guessed.
        sources: The file of each page, and the page's number in that file.
        used: A summary of each file: its pages, keywords and language.
    """

    keywords: list[Keyword]
    texts: list[str]
    notices: list[str]
    sources: list[tuple[Path, int]] = field(default_factory=list)
    used: list[str] = field(default_factory=list)


def slides_keywords(
    files: Sequence[Path], language: str | None = None, options: Options = DEFAULTS, most: int | None = None
) -> Listed:
    """Read the keywords of several files: decks, documents that accompany them, and keyword lists (`read_keywords`).

    Pages are numbered consecutively over all decks and lists. Text, Markdown and HTML count as a deck only if they have
    several pages and no other file has pages; otherwise their keywords belong to page 0, as those of people and
    references always do.

    Args:
        language: Language of the decks; None = guess it for each, with a notice if it is not English.
        most: Maximum number of distinct keywords, the most useful of all files; None = no limit.
    Raises: InputError: a file cannot be used.
    """
    contents = [(path, _read(path, options)) for path in files]
    have_pages = any(
        content.slides if isinstance(content, Deck) else any(row.page for row in content) for _, content in contents
    )
    listed = Listed([], [], [])
    for path, content in contents:
        before = len(listed.texts)
        if isinstance(content, Deck):
            deck = content.without_pages() if not content.slides and (have_pages or len(content.pages) < 2) else content
            keywords = deck_keywords(deck, language)
            listed.notices.extend(f"{path}: {notice}" for notice in _language_notices(_text(deck), language))
            if not keywords:
                listed.notices.append(f"{path}: gave no keywords")
            texts = ["\n".join(page.lines) for page in deck.pages if page.number]
            listed.notices.extend(f"{path}: {notice}" for notice in deck.notices)
            listed.used.append(f"{path}: {_counted(texts, keywords)}{_language(deck, language)}")
        else:
            keywords = content
            pages: list[list[str]] = [[] for _ in range(max((row.page for row in keywords), default=0))]
            for row in keywords:
                if row.page:
                    pages[row.page - 1].append(row.keyword)
            texts = list(map("\n".join, pages))
            listed.used.append(f"{path}: {_counted(texts, keywords)}, as listed")
        listed.texts.extend(texts)
        listed.sources.extend((path, number) for number in range(1, len(texts) + 1))
        listed.keywords.extend(replace(row, page=row.page + before) if row.page else row for row in keywords)
    return listed if most is None else replace(listed, keywords=best_keywords(listed.keywords, most))


def _counted(texts: Sequence[str], keywords: Sequence[Keyword]) -> str:
    distinct = len({row.keyword.casefold() for row in keywords})
    pages = f"{len(texts)} page{'' if len(texts) == 1 else 's'}, " if texts else ""
    return f"{pages}{distinct} keyword{'' if distinct == 1 else 's'}"


def _language(deck: Deck, language: str | None) -> str:
    """Describe the language that a deck was read in, and how it was chosen; "" for lists of names, which have none."""
    if language:
        return f", language {language}"
    if guessed := guess_language(_text(deck)):
        return f", language {guessed}, as guessed"
    return f", language {DEFAULT_LANGUAGE}, assumed" if deck.slides else ""


def best_keywords(keywords: Sequence[Keyword], most: int) -> list[Keyword]:
    """Keep the rows of the `most` most useful distinct keywords, in their order.

    >>> [row.keyword for row in best_keywords(deck_keywords(Deck.of([["NASA and Jon Zorvan"], ["of NASA"]])), 1)]
    ['Jon Zorvan']
    """
    use: dict[str, float] = {}
    for row in keywords:
        use[row.keyword.casefold()] = max(row.use, use.get(row.keyword.casefold(), 0.0))
    kept = set(sorted(use, key=lambda word: -use[word])[:most])
    return [row for row in keywords if row.keyword.casefold() in kept]


def _language_notices(text: str, language: str | None) -> Iterator[str]:
    guessed = guess_language(text)
    if script := script_without_words(text):
        yield f"words of {script} cannot be segmented; only words in other scripts were extracted"
    elif language is None and guessed not in (None, DEFAULT_LANGUAGE):
        yield f"language {guessed}, as guessed; if it is another, give --language"
    elif language and guessed and guessed != language:
        yield f"reads like language {guessed}, not like {language}, which was given"


def _read(path: Path, options: Options) -> Deck | list[Keyword]:
    if path.suffix.lower() in (".tsv", ".json") and path.is_file():
        if (size := path.stat().st_size) > MAX_LIST:
            raise InputError(f"{path}: has {size >> 20} MB, expected a list of at most {MAX_LIST >> 20}")
        try:
            listed = read_keywords(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError):
            listed = None  # `read_deck` reports the cause
        if listed is not None:
            return listed
    return read_deck(path, options)


def keywords_tsv(keywords: Iterable[Keyword]) -> str:
    """Format keywords as a table with the columns page, keyword, reason and spoken."""
    rows = [COLUMNS, *((str(row.page), row.keyword, row.reason, row.spoken) for row in keywords)]
    return "".join("\t".join(row).rstrip("\t") + "\n" for row in rows)


def keywords_json(keywords: Iterable[Keyword]) -> str:
    """Format keywords as a JSON list of objects, each on its own line."""
    rows = (json.dumps({key: getattr(row, key) for key in COLUMNS}, ensure_ascii=False) for row in keywords)
    return "[\n" + ",\n".join(rows) + "\n]\n"


def read_keywords(text: str, where: str, headed: bool = True) -> list[Keyword] | None:
    """Parse a keyword list as written by `sap2 keywords`, possibly edited by hand; None = the text is something else.

    The reason may be omitted.

    Args:
        headed: Whether a table's first line names its columns; False = the text is always parsed as a table.
    Raises: InputError: a row cannot be used; the message names its line or number.
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
    except csv.Error:  # a bare carriage return in it
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
