"""The TSV of is21_deep_bias (Le et al., Interspeech 2021): id, text, rare words and list, the last two as JSON.

    1089-134686-0000<TAB>he hoped there would be stew<TAB>["stew"]<TAB>["aubigny", "stew", …]

Hypotheses end after the text; with three columns the rare words are also the list. Used by scoring and data stages.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from sys import intern
from typing import NamedTuple

import numpy as np

from sap2.errors import InputError

__all__ = ["DeepBiasRow", "ListCell", "letters_of", "parse_list", "parse_rows"]

LINES_AT_ONCE = 50  # lines whose lists are parsed together, to stay in the processor's cache


class DeepBiasRow(NamedTuple):
    """A parsed line; `rare` and `keywords` are None if the line lacks the column."""

    line: int
    id: str
    text: str
    rare: Sequence[str] | None = None
    keywords: Sequence[str] | None = None


def parse_rows(path: str, lines: Iterable[tuple[int, str]]) -> Iterator[DeepBiasRow]:
    """Parse numbered lines, skipping blank lines.

    Raises: InputError: a line has no id, too many columns, or a column that is not a JSON list of strings.
    """
    lines = iter(lines)
    while split := [(number, line.split("\t")) for number, line in islice(lines, LINES_AT_ONCE)]:
        cells_read = iter(ListCell.read_all([cells[-1].strip() for _, cells in split if len(cells) > 2]))
        for number, cells in split:
            last = next(cells_read) if len(cells) > 2 else None
            if not (id := cells[0].strip()):
                if not any(map(str.strip, cells)):
                    continue
                raise InputError(f"{path}:{number}: no id before the first tab; expected id, tab, text")
            text = cells[1].strip() if len(cells) > 1 else ""
            if len(cells) < 3:
                yield DeepBiasRow(number, id, text)
                continue
            where = f"{path}:{number} ({id})"
            if len(cells) > 4:
                raise InputError(f"{where}: {len(cells)} columns, expected at most id, text, rare words and list")
            if len(cells) == 3:
                rare = keywords = last or parse_list(where, cells[2].strip(), "rare words")
            else:
                rare = parse_list(where, cells[2].strip(), "rare words")
                keywords = last or parse_list(where, cells[3].strip(), "list")
            yield DeepBiasRow(number, id, text, rare, keywords)


def parse_list(where: str, cell: str, name: str) -> Sequence[str]:
    """Parse a column as a JSON list of strings. Raises: InputError: it is something else."""
    if (simple := ListCell.read(cell)) is not None:
        return simple
    import json

    try:
        words = json.loads(cell)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"got {type(words).__name__}" if not isinstance(words, list) else "not all are strings")
        return tuple(map(intern, words))
    except (ValueError, RecursionError) as error:
        shown = repr(cell) if len(repr(cell)) <= 60 else repr(cell)[:60] + "…"
        raise InputError(f"{where}: {name} {shown} are not a JSON list of strings ({error})") from error


class ListCell(Sequence[str]):
    """A JSON list kept as its text, `["acterrally", "arisen"]`, and parsed on access.

    A test set has a list of hundreds of entries for each of its utterances: as text they need a tenth of the memory,
    and most are scanned only once, together (`Vocabulary`).
    """

    __slots__ = ("_length", "text")

    def __init__(self, text: str, length: int) -> None:
        self.text, self._length = text, length

    @classmethod
    def read(cls, text: str) -> "ListCell | None":
        """Read a list in this exact notation; None for other notations, which need a JSON parser."""
        if text == "[]":
            return cls("", 0)
        if not cls._has_ends(text):
            return None
        separators = text.count('", "')
        # Every quotation mark must belong to a separator or an end.
        return cls(text, separators + 1) if text.count('"') == 2 * separators + 2 else None

    @classmethod
    def read_all(cls, texts: Sequence[str]) -> "list[ListCell | None]":
        """Read many lists: together if all have this notation, else individually by `read`."""
        letters = letters_of("\n".join(texts)) if texts and all(map(cls._has_ends, texts)) else None
        if letters is None:
            return list(map(cls.read, texts))
        quotes = np.flatnonzero(letters == ord('"'))
        # Quotes in each list; lists are separated by a character.
        counts = np.diff(np.searchsorted(quotes, np.cumsum([0, *(len(text) + 1 for text in texts)])))
        closing, opening = quotes[1:-1:2], quotes[2::2]
        is_separator = opening - closing == 3
        is_separator &= (letters[closing + 1] == ord(",")) & (letters[closing + 2] == ord(" "))
        if (counts % 2).any() or np.count_nonzero(is_separator) != counts.sum() // 2 - len(texts):
            return list(map(cls.read, texts))
        return list(map(cls, texts, (counts // 2).tolist()))

    @staticmethod
    def _has_ends(text: str) -> bool:
        return text.startswith('["') and text.endswith('"]') and "\\" not in text

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # integer indices only: no slices
        return self._entries()[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def _entries(self) -> list[str]:
        return self.text[2:-2].split('", "') if self.text else []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.text)


def letters_of(text: str) -> np.ndarray | None:
    """Return an ASCII text as bytes, padded so that eight letters can be read at each index; None for other text."""
    return np.frombuffer(text.encode() + bytes(8), dtype=np.uint8) if text.isascii() else None
