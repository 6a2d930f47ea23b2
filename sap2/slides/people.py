"""People and organisations in files that list them: tables, address books, calendars, schedules, bibliographies.

Only values that the format marks as names or titles are read, never the names of fields.
"""

import csv
import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sap2.errors import InputError
from sap2.slides.cleaning import plain
from sap2.slides.headings import OTHER, Columns, columns_of, field_kind, words_of
from sap2.slides.names import is_full_name, persons
from sap2.slides.schedules import schedule_entries

__all__ = ["AUTHOR", "ORGANISATION", "PERSON", "People", "read_people"]

PERSON, ORGANISATION, AUTHOR = "person", "organisation", "author"  # reasons of the names
MAX_BYTES = 16 << 20
DELIMITERS = ",;\t|"
MAX_ROWS = 200  # rows that are examined to choose the delimiter
SHARE = 0.6  # minimum share of name-like cells in a column of people without a heading
KINDS = {
    ".vcf": "vcard", ".vcard": "vcard", ".ics": "calendar", ".ical": "calendar", ".csv": "table", ".tsv": "table",
    ".bib": "bibliography", ".json": "schedule",
}  # fmt: skip


@dataclass(frozen=True)
class People:
    """The content of a list of people: names with their reasons, lines of text, and notices."""

    names: tuple[tuple[str, str], ...]
    lines: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def read_people(path: Path) -> People | None:
    """Read a list of people; None = the file is not such a list.

    Reads CSV and TSV with or without a heading, vCard, iCalendar, BibTeX, and schedules and speakers as JSON. vCard and
    iCalendar are detected from their first line, the others from the file name's extension.

    Raises: InputError: the file holds no name, or cannot be read; the message names the expected content.
    """
    kind = _kind(path)
    if kind is None:
        return None
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InputError(f"{path}: has {size >> 20} MB, expected a list of at most {MAX_BYTES >> 20}")
    read, expected = READERS[kind]
    text, notices = _content(path)
    people = read(text, path)
    tidied = ((plain(name)[0].strip(" ,;"), reason) for name, reason in people.names)
    names = tuple(dict.fromkeys((name, reason) for name, reason in tidied if any(map(str.isalpha, name))))
    if not names and not any(people.lines):
        raise InputError(f"{path}: holds no names, expected {expected}")
    return People(names, people.lines, (*notices, *people.notices))


def _kind(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(100).lstrip(b"\xef\xbb\xbf \t\r\n").upper()
    for marker, kind in ((b"BEGIN:VCARD", "vcard"), (b"BEGIN:VCALENDAR", "calendar")):
        if start.startswith(marker):
            return kind
    return KINDS.get(path.suffix.lower())


def _content(path: Path) -> tuple[str, list[str]]:
    """Read text as UTF-8, as UTF-16 with a byte order mark, or otherwise as Windows-1252 with a notice."""
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding), []
    except UnicodeDecodeError as error:
        if encoding == "utf-16" or b"\0" in content:
            raise InputError(f"{path}: is not text ({error.reason}); export it again as UTF-8") from error
        return content.decode("cp1252", "replace"), ["is not UTF-8: read as Windows-1252; check accented names"]


# ---- tables ------------------------------------------------------------------------------------------------------


def _table(text: str, path: Path) -> People:
    """Read the names in columns of people or organisations, detected from the headings or else from the cells.

    Without headings of people, the other cells become lines of text.
    """
    rows = _rows(text, path)
    if not rows:
        return People(())
    headed = _may_be_heading(rows)
    columns = columns_of(rows[0]) if headed else Columns()
    if columns.people:
        return People(tuple(_of_columns(rows[1:], columns)))
    headed = headed and (bool(columns.organisation) or _looks_like_heading(rows))
    body = rows[1:] if headed else rows
    guessed = [column for column in range(max(map(len, body), default=0)) if _holds_people(_column(body, column))]
    names = [
        *((name, PERSON) for row in body for column in guessed if column < len(row) for name in persons(row[column])),
        *_of_columns(body, Columns(organisation=columns.organisation)),
    ]
    left = [(row, column) for row in body for column in range(len(row)) if column not in guessed]
    lines = tuple(row[column] for row, column in left if row[column] and column not in columns.organisation)
    if guessed or not headed:
        return People(tuple(names), lines)
    notice = (
        f"no column of people among {', '.join(map(repr, rows[0]))[:200]}; expected a heading such as name, speaker"
    )
    return People(tuple(names), lines, (notice,))


def _of_columns(rows: Sequence[Sequence[str]], columns: Columns) -> Iterator[tuple[str, str]]:
    for row in rows:
        cells = dict(enumerate(row))
        if columns.given is not None or columns.family is not None:
            parts = (cells.get(column, "") for column in (columns.given, columns.family) if column is not None)
            yield " ".join(parts), PERSON
        for column in columns.full:
            yield from ((name, PERSON) for name in persons(cells.get(column, "")))
        yield from ((cells[column], ORGANISATION) for column in columns.organisation if column in cells)


def _rows(text: str, path: Path) -> list[list[str]]:
    """Parse the rows of a table with the delimiter that gives the first rows the most uniform length."""
    delimiters = DELIMITERS
    if separator := re.match(r"sep=(.)\r?\n", text):  # as Excel writes it
        text, delimiters = text[separator.end() :], separator.group(1)

    def parsed(delimiter: str) -> list[list[str]]:
        table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        return [row for row in table if any(map(str.strip, row))]

    def evenness(rows: list[list[str]]) -> tuple[float, int]:
        widths = [len(row) for row in rows[:MAX_ROWS]] or [1]
        usual = max(set(widths), key=lambda width: (widths.count(width), width))
        return (widths.count(usual) / len(widths) if usual > 1 else 0.0, usual)

    try:
        rows = max((parsed(delimiter) for delimiter in delimiters), key=evenness)
    except csv.Error as error:
        raise InputError(f"{path}: is not a readable table ({error}); export it again as CSV") from error
    return [[" ; ".join(plain(line)[0] for line in cell.splitlines() if line.strip()) for cell in row] for row in rows]


def _column(rows: Sequence[Sequence[str]], column: int) -> list[str]:
    return [row[column] for row in rows if column < len(row) and row[column]]


def _may_be_heading(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row holds no person's name; otherwise words such as "speaker" in it are cells."""
    return not any(
        is_full_name(cell) and field_kind(cell) is None and not words_of(cell) & OTHER and _holds_people(below)
        for cell, below in ((cell, _column(rows, column)) for column, cell in enumerate(rows[0]))
    )


def _looks_like_heading(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a first row of unknown headings differs in form from the cells below it."""
    first, body = rows[0], rows[1:]
    if not body or not all(first) or any(re.search(r"\d\s*$|@", cell) for cell in first):
        return False
    if any(field_kind(cell) or words_of(cell) & OTHER or re.search(r"\w_\w", cell) for cell in first):
        return True
    below = [_column(body, column) for column in range(len(first))]
    return any(
        cells and (_holds_people(cells) and not is_full_name(cell) or all(re.search(r"\d|@", value) for value in cells))
        for cell, cells in zip(first, below, strict=True)
    )


def _holds_people(cells: Sequence[str]) -> bool:
    return bool(cells) and sum(any(map(is_full_name, persons(cell))) for cell in cells) >= SHARE * len(cells)


# ---- address books and calendars -----------------------------------------------------------------------------------


def _properties(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, parameters and unfolded value of each property of vCard (RFC 6350) or iCalendar (RFC 5545)."""
    for line in re.sub(r"\r?\n[ \t]", "", text.replace("=\r\n", "").replace("=\n", "")).splitlines():
        match = re.match(r'(?:[\w-]+\.)?([\w-]+)((?:;(?:[^":;]|"[^"]*")*)*):(.*)', line)
        if not match:
            continue
        name, parameters, value = match.groups()
        if "QUOTED-PRINTABLE" in parameters.upper():  # vCard 2.1
            import quopri

            value = quopri.decodestring(value.encode()).decode("utf-8", "replace")
        yield name.upper(), parameters, value


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda escaped: " " if escaped[1] in "nN" else escaped[1], value)


def _vcards(text: str, path: Path) -> People:
    """Read the formatted name of each card, or its name parts if there is none, and organisations."""
    names: list[tuple[str, str]] = []
    parts, formatted = "", ""
    for name, _, value in (*_properties(text), ("END", "", "")):
        if name == "FN":
            formatted = _unescaped(value)
        elif name == "N":
            family, given, middle, *_ = [*map(_unescaped, re.split(r"(?<!\\);", value)), "", "", ""]
            parts = " ".join(f"{given} {middle} {family}".split())
        elif name == "ORG":
            names.append((_unescaped(re.split(r"(?<!\\);", value)[0]), ORGANISATION))
        elif name == "END" and (formatted or parts):
            names.extend((person, PERSON) for person in persons(formatted or parts))
            parts = formatted = ""
    return People(tuple(sorted(names, key=lambda entry: entry[1] != PERSON)))


def _calendar(text: str, path: Path) -> People:
    """Read the names of organisers and attendees; summaries, descriptions and locations become lines of text."""
    names: list[tuple[str, str]] = []
    lines: list[str] = []
    for name, parameters, value in _properties(text):
        if name in ("ORGANIZER", "ATTENDEE") and (common := re.search(r';CN=(?:"([^"]*)"|([^;:]*))', parameters, re.I)):
            names.extend((person, PERSON) for person in persons(common[1] or common[2]))
        elif name in ("SUMMARY", "DESCRIPTION", "LOCATION"):
            lines.append(_unescaped(value))
    return People(tuple(names), tuple(dict.fromkeys(lines)))


# ---- schedules and bibliographies ----------------------------------------------------------------------------------


def _schedule(text: str, path: Path) -> People:
    import json

    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not readable JSON ({error}); export it again") from error
    try:
        entries = list(schedule_entries(content))
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply for a schedule; export it again") from error
    names = [(name, PERSON) for kind, text in entries if kind == "person" for name in persons(text)]
    names += [(text, ORGANISATION) for kind, text in entries if kind == "organisation"]
    return People(tuple(names), tuple(dict.fromkeys(text for kind, text in entries if kind == "title")))


class _Macros(dict[str, str]):
    """BibTeX's string macros; an undefined macro expands to its own name, as in BibTeX, which only warns."""

    def __init__(self, known: dict[str, str]) -> None:
        super().__init__(known)
        self.undefined: set[str] = set()

    def __missing__(self, name: str) -> str:
        self.undefined.add(name)
        return name


def _bibliography(text: str, path: Path) -> People:
    """Read authors and editors; titles become lines of text."""
    import bibtexparser
    from bibtexparser.bparser import BibTexParser
    from bibtexparser.customization import convert_to_unicode, splitname

    logging.getLogger("bibtexparser").setLevel(logging.ERROR)
    parser = BibTexParser(common_strings=True, ignore_nonstandard_types=False, customization=convert_to_unicode)
    macros = parser.bib_database.strings = _Macros(parser.bib_database.strings)
    try:
        entries = bibtexparser.loads(text, parser).entries
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: is not readable BibTeX ({error!r:.80}); export it again") from error
    names: list[tuple[str, str]] = []
    for entry in entries:
        people = " and ".join(filter(None, (entry.get("author"), entry.get("editor"))))
        for name in re.split(r"\s+and\s+", " ".join(people.split())):
            if not name or name == "others" or name in macros.undefined:
                continue
            parts = splitname(name, strict_mode=False)
            full_name = " ".join(word for part in ("first", "von", "last") for word in parts.get(part, ()))
            names.append((re.sub(r"[{}\\]", "", full_name), AUTHOR))
    notices = (
        [f"undefined macros, read as their names: {', '.join(sorted(macros.undefined))}"] if macros.undefined else []
    )
    titles = dict.fromkeys(re.sub(r"[{}]", "", entry.get("title", "")) for entry in entries)
    return People(tuple(names), tuple(filter(None, titles)), tuple(notices))


READERS: dict[str, tuple[Callable[[str, Path], People], str]] = {
    "table": (_table, "a table with a heading such as name, speaker, or first name and last name"),
    "vcard": (_vcards, "cards with FN or N"),
    "calendar": (_calendar, "events with a summary, an organiser or attendees"),
    "schedule": (_schedule, "speakers or talks as pretalx, Sessionize or frab export them, or page and keyword"),
    "bibliography": (_bibliography, "entries with author, editor or title"),
}
