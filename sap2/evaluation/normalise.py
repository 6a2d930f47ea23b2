"""What happens to text and keyword lists, alike, before they are scored. Every score names its normaliser."""

import unicodedata
from functools import lru_cache

from sap2.errors import ParamsError

__all__ = ["NORMALISERS", "normalise"]

# Name -> what the outputs say about it.
NORMALISERS = {
    "none": "text and list as they are",
    "basic": "text and list in lower case, punctuation removed except apostrophes inside words",
}


@lru_cache(maxsize=1 << 18)  # the same keywords stand in many lists
def normalise(text: str, normaliser: str) -> str:
    """Text as it is scored.

    >>> normalise("Well-known: O’Neil's 'C++' talk…", "basic")
    "well known o'neil's c++ talk"

    Raises: ParamsError: no such normaliser; the message lists those there are.
    """
    if normaliser == "none":
        return text
    if normaliser == "basic":
        words = unicodedata.normalize("NFC", text).lower().translate(_without_punctuation).split()
        return " ".join(filter(None, (word.strip("'") for word in words)))
    raise ParamsError(f"evaluation.normaliser: got {normaliser!r}, expected one of: {', '.join(NORMALISERS)}")


class _Punctuation(dict):
    """A table for `str.translate`, filled as characters are met: punctuation of any script becomes a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = "'" if character in "'\u2019\u02bc" else None
        self[code] = kept or (" " if unicodedata.category(character).startswith("P") else character)
        return self[code]


_without_punctuation = _Punctuation()
