"""People, organisations and titles in conference schedules as JSON, in any layout.

Values are classified by the names of their field and its parent, as written by pretalx, Sessionize, frab and exports of
tables: a `name` in `speakers` or `persons` is a person, in `rooms` or `tracks` it is not.
"""

from collections.abc import Iterator
from typing import Any

from sap2.slides.headings import ROLE, field_kind, words_of
from sap2.slides.names import is_full_name

__all__ = ["schedule_entries"]

# Fields whose contents are never people or titles, whatever the names of the fields in them.
ELSEWHERE = frozenset(
    """answers attachments categories category category_items categoryitems collections conferenceinfo generator items
    language languages license links map options organizer question question_answers questionanswers questions resources
    room rooms tag tags time_zone_name timezone track tracks type types urls venue venues""".split()
)
TITLES = frozenset(["title", "subtitle"])
TALKS = frozenset(
    "conference event events schedule session sessions submission submissions talk talks workshop workshops".split()
)
LISTS = frozenset(["", "data", "entries", "list", "people", "results", "rows", "users"])
ORGANISATIONS = frozenset("exhibitor exhibitors partner partners sponsor sponsors".split())
FULL_FIELDS = ("full_public_name", "public_name", "fullname", "full_name", "display_name", "name")


def schedule_entries(content: Any) -> Iterator[tuple[str, str]]:
    """Yield the entries of a schedule in order: ("person" | "organisation" | "title", text).

    >>> list(schedule_entries({"talks": [{"title": "On Graphs", "speakers": [{"name": "Jon Quine", "id": 3}]}]}))
    [('title', 'On Graphs'), ('person', 'Jon Quine')]
    """
    yield from _entries(content, "")


def _entries(content: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, list):
        for entry in content:
            if isinstance(entry, str) and words_of(field) & ROLE:
                yield from _person(entry)
            else:
                yield from _entries(entry, field)
    elif isinstance(content, dict):
        yield from _record(content, field)


def _record(record: dict[Any, Any], field: str) -> Iterator[tuple[str, str]]:
    keys = {key.casefold(): key for key in record if isinstance(key, str)}
    yield from _named(record, keys, field)
    for lower, key in keys.items():
        value = record[key]
        if isinstance(value, str):
            if lower in TITLES and value.strip():
                yield "title", value
            elif words_of(key) & ROLE and field_kind(key) == "full" and lower not in FULL_FIELDS:
                yield from _person(value)
            elif field_kind(key) == "organisation" and value.strip():
                yield "organisation", value
        elif lower == "rooms" and isinstance(value, dict):  # pretalx, frab: talks by the name of their room
            for talks in value.values():
                yield from _entries(talks, "talks")
        elif lower == "rooms" and isinstance(value, list):  # Sessionize's grid: talks within each room
            for room in value:
                yield from _entries(room.get("sessions") if isinstance(room, dict) else None, "talks")
        elif lower not in ELSEWHERE:
            yield from _entries(value, key if not lower.isdecimal() else field)


def _named(record: dict[Any, Any], keys: dict[str, str], field: str) -> Iterator[tuple[str, str]]:
    """Yield the name in a record: a person's or organisation's, or the title of a talk."""

    def value(*names: str) -> str:
        texts = (record[keys[name]] for name in names if name in keys)
        return next((text for text in texts if isinstance(text, str) and text.strip()), "")

    given = value(*(lower for lower, key in keys.items() if field_kind(key) == "given"))
    family = value(*(lower for lower, key in keys.items() if field_kind(key) == "family"))
    name = value(*FULL_FIELDS)
    if given or family:
        yield from _person(name if name and family in name else f"{given} {family}")
    elif not name:
        return
    elif field.casefold() in TALKS or (
        not field and any(isinstance(nested, list | dict) for nested in record.values())
    ):
        yield "title", name
    elif words_of(field) & ORGANISATIONS or field_kind(field) == "organisation":
        yield "organisation", name
    elif words_of(field) & ROLE or field.casefold() in LISTS or "full_public_name" in keys or is_full_name(name):
        yield from _person(name)


def _person(text: str) -> Iterator[tuple[str, str]]:
    # Sessionize's lists of a talk's speakers hold ids of letters and digits.
    if text.strip() and not any(map(str.isdigit, text)):
        yield "person", " ".join(text.split())
