"""Keywords as a person gives them to a command: typed, as a list in a file, or as an index."""

from collections.abc import Sequence
from pathlib import Path

from sap2.data.biasing import read_list
from sap2.errors import InputError
from sap2.inference.index import KeywordIndex, digest_of

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

    Raises: InputError: the file cannot be used, or is the index of a list that has changed.
    """
    if file is None or not is_index(file):
        return read_list(text, file)
    typed, index = read_list(text), KeywordIndex.load(file)
    _check_age(file, index)
    return [*dict.fromkeys([*typed, *index])] if typed else index


def _check_age(file: Path, index: KeywordIndex) -> None:
    """Compare an index with its list, if that is in the same folder."""
    listed = file.with_name(index.list_name) if index.list_name else file
    if listed == file or not listed.is_file() or is_index(listed):
        return
    keywords = list(dict.fromkeys(read_list(file=listed)))
    if digest_of(keywords) != index.digest:
        raise InputError(
            f"{file}: is the index of an earlier {listed.name} ({len(index)} keywords, now {len(keywords)}); run "
            f'"sap2 index {listed} --output {file}" again'
        )
