"""Parsing of people's names as written in text: with titles, degrees, initials, particles, in either order."""

import re
from collections.abc import Iterator

from sap2.slides.wordlists import PARTICLES

__all__ = ["INITIALS", "is_full_name", "persons"]

INITIALS = r"[^\W\d_]\.(?:[ -]?[^\W\d_]\.)*"  # J., J.-P., J. D.
CAPITALISED = re.compile(rf"(?![a-zß-öø-ÿа-яё])[^\W\d_][^\W\d_]*(?:[’'\-‐‑][^\W\d_]+)*|{INITIALS}")
HONORIFICS = re.compile(
    r"(?:(?:professor|prof|dr|mr|mrs|ms|mx|dipl|herr|frau|mme|mlle|sir|dame)\b\.?[\s\-]*|(?:ing|med|phil|rer|nat)\.[\s\-]*)+"
    r"(?=\S)",
    re.IGNORECASE,
)
DEGREES = re.compile(
    r"[,\s]+(?:ph\.?\s?d|m\.?sc|b\.?sc|m\.?d|mba|jr|sr|esq|dphil)\b\.?(?=\s*(?:$|[,(]))", re.IGNORECASE
)
ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>|\S+@\S+|https?:\S+|[*†‡§¶]")
BETWEEN = re.compile(r"\s*[;|/\n]\s*|\s+(?:&|and|und|et|och|og)\s+")
WORDS = 6  # maximum words of a name


def persons(text: str) -> Iterator[str]:
    """Yield the people named in a cell or field, without titles and degrees, given name first.

    >>> list(persons("Zorvan, Kathryn")), list(persons("Dr. Jon Quine, PhD (EMBL) and Ann Meyer"))
    (['Kathryn Zorvan'], ['Jon Quine', 'Ann Meyer'])
    >>> list(persons("Quinn Zorvan/Yun Quaylan")), list(persons("Jon Quine, Ann Meyer, Zorvan et al."))
    (['Quinn Zorvan', 'Yun Quaylan'], ['Jon Quine', 'Ann Meyer', 'Zorvan'])
    """
    for group in BETWEEN.split(ASIDE.sub(" ", text)):
        parts = [HONORIFICS.sub("", part.strip(" -–—:")) for part in DEGREES.sub("", group).split(",")]
        parts = [" ".join(part.split()) for part in parts if part.strip()]
        if len(parts) == 2 and min(len(part.split()) for part in parts) == 1:
            parts = [f"{parts[1]} {parts[0]}"]  # "Zorvan, Kathryn"
        for part in parts:
            if part != "al." and len(part.split()) <= WORDS and not any(map(str.isdigit, part)):
                yield part


def is_full_name(text: str) -> bool:
    """Whether a text looks like a person's name: two to five capitalised words, not counting particles.

    >>> [is_full_name(text) for text in ("Ludwig van der Zorvan", "Allen L. Meyer", "Meyer", "on the graph", "Room 3")]
    [True, True, False, False, False]
    """
    words = text.split()
    named = [word for word in words if word.casefold() not in PARTICLES]
    full = [word for word in named if not word.endswith(".")]
    return 2 <= len(named) <= 5 and bool(full) and all(CAPITALISED.fullmatch(word) for word in named)
