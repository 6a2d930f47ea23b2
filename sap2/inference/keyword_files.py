"""Keywords as a person gives them to a command: typed, as a list in a file, or as an index."""

from collections.abc import Sequence
from pathlib import Path

from sap2.data.biasing import read_list
from sap2.inference.index import KeywordIndex

__all__ = ["is_index", "read_keywords"]


def is_index(path: Path) -> bool:
    """Whether a file begins as an index does; lists are text and hold no NUL."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError:
        return False
    return len(head) == 9 and head.endswith(b"\0{")


def read_keywords(text: str | None = None, file: Path | None = None) -> Sequence[str]:
    """Keywords that a person typed or keeps in a file, which is a list or an index.

    Raises: InputError: the file cannot be used.
    """
    if file is None or not is_index(file):
        return read_list(text, file)
    typed, index = read_list(text), KeywordIndex.load(file)
    return [*dict.fromkeys([*typed, *index])] if typed else index
