"""Biasing lists: as people give them, as papers publish them, and as Le et al. (2021) draw them."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sap2.data.entries import text_lines
from sap2.data.quarantine import Rejected
from sap2.deep_bias import parse_rows
from sap2.errors import InputError
from sap2.manifest import keyword_fault, unique_keywords

__all__ = ["RareWords", "common_words", "read_list", "read_published", "read_words", "split_list", "words_of"]

_COMMENT = re.compile(r"^\s*#.*|\s#(?:\s.*)?$")
_FIELD = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?:,|$)|([^,]+)')


def read_list(text: str | None = None, file: Path | str | None = None) -> list[str]:
    """Keywords that a person typed or keeps in a file, as `split_list` takes them apart; each once, in order.

    >>> read_list("Meyer, deep zorvan,, meyer")
    ['Meyer', 'deep zorvan']

    Raises: InputError: the file is missing or not UTF-8, or a keyword holds a marker; the message says where.
    """
    sources = [("--keywords", text or "")]
    if file is not None:
        try:
            sources.append((str(file), Path(file).read_text(encoding="utf-8-sig")))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise InputError(f"{file}: no such file, expected keywords, one a line") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    found: list[str] = []
    for where, content in sources:
        for number, keyword in split_list(content):
            if fault := keyword_fault(keyword):
                raise InputError(f"{where}:{number}: {fault}" if where != "--keywords" else f"{where}: {fault}")
            found.append(keyword)
    return unique_keywords(found)


def split_list(text: str) -> Iterator[tuple[int, str]]:
    """The keywords of a text with the number of their line: one a line, or separated by commas.

    Quotes round a keyword are those of a CSV file. A `#` with a blank or nothing behind it begins a comment, where it
    begins a line or follows a blank; so does any `#` that begins a line.

    >>> [word for _, word in split_list('# names\n"Meyer", "Kathryn ""Kit"" Ho"\nC#, Zorvan  # speaker')]
    ['Meyer', 'Kathryn "Kit" Ho', 'C#', 'Zorvan']
    """
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        for match in _FIELD.finditer(_COMMENT.sub("", line)):
            quoted, plain = match.groups()
            keyword = (plain if quoted is None else quoted.replace('""', '"')).strip()
            if keyword:
                yield number, keyword


class RareWords:
    """Draws an utterance's biasing list: its own rare words and distractors, words that are rare elsewhere.

    >>> lists = RareWords(frozenset(["the", "of"]), ["zorvan", "meyer", "deep"])
    >>> lists.biasing_list("the art of meyer", 1, "seed")
    ['art', 'meyer', 'zorvan']

    Source: Le et al., "Contextualized Streaming End-to-End Speech Recognition with Trie-Based Deep Biasing and Shallow
    Fusion", Interspeech 2021, section 3.1.
    """

    def __init__(self, common: frozenset[str], rare: Sequence[str]):
        self.common, self.rare = common, rare

    def of(self, text: str) -> list[str]:
        """The rare words of a text, each once, sorted; what cannot stand in a list, as "said,", is left out."""
        return sorted({word for word in words_of(text) if word not in self.common})

    def biasing_list(self, text: str, distractors: int, seed: str) -> list[str]:
        """The text's rare words and up to `distractors` others, sorted: their order tells nothing."""
        drawn = random.Random(seed).sample(self.rare, min(distractors, len(self.rare)))
        return sorted({*self.of(text), *drawn})


def common_words(texts: Iterable[str], count: int) -> frozenset[str]:
    """The `count` most frequent words of `texts`; of equally frequent ones those first in the alphabet."""
    counts = Counter(word for text in texts for word in words_of(text))
    return frozenset(sorted(counts, key=lambda word: (-counts[word], word))[:count])


def words_of(text: str) -> list[str]:
    """The words of a text that can stand in a list, without case."""
    return [word for word in text.casefold().split() if not keyword_fault(word)]


def read_words(path: Path | str) -> list[str]:
    """Words of a file, one a line (what follows on the line, as a count, is left), lower-case, in order.

    Raises: InputError: the file is missing, not UTF-8 or without words, or one cannot stand in a list.
    """
    words: dict[str, None] = {}
    for where, line in text_lines(Path(path)):
        if isinstance(line, Rejected):
            raise InputError(f"{where}: {line.reason}")
        word = line.split()[0].lower()
        if fault := keyword_fault(word):
            raise InputError(f"{where}: {fault}")
        words.setdefault(word)
    if not words:
        raise InputError(f"{path}: holds no words, expected one a line")
    return list(words)


def read_published(path: Path | str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The text and list of each utterance of a deep-bias TSV: `{id: (text, list)}`.

    Raises: InputError: the file is missing, a line has another form, a keyword cannot stand in a list, or an id comes
    twice.
    """
    published: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line, id, text, rare, keywords in parse_rows(str(path), _numbered(Path(path))):
        where = f"{path}:{line}"
        if rare is None or keywords is None or keywords is rare:
            raise InputError(f"{where}: expected id, text, rare words and list, the last two JSON; a column is missing")
        if missing := sorted(set(rare) - set(keywords)):
            raise InputError(f"{where}: the list lacks {', '.join(missing)}, which is rare in it")
        if fault := next(filter(None, map(keyword_fault, keywords)), None):
            raise InputError(f"{where}: {fault}")
        if id in published:
            raise InputError(f"{where}: {id} has a list already; an utterance has one")
        published[id] = (text, tuple(keywords))
    return published


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    for where, line in text_lines(path):
        if isinstance(line, Rejected):
            raise InputError(f"{where}: {line.reason}")
        yield int(where.rpartition(":")[2]), line
