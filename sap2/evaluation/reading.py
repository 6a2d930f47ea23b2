"""Reader of hypotheses, references and lists in the field's formats, which are detected from the content.

JSON lines or a JSON array: this project's manifests and results, and ms-swift messages with `response` and `labels`.
TSV: id, text, and optionally rare words and list as JSON, as in is21_deep_bias. `(id)` at the end of each line: trn.
Other files: Kaldi's `text`, with the id first. Utterances are matched by id; the order of lines does not matter.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from sap2.deep_bias import parse_list, parse_rows
from sap2.errors import InputError
from sap2.files import SURROGATE, checked_object, json_object
from sap2.messages import audio_of, parse_message

__all__ = ["Row", "Source", "read_lists", "read_source", "read_training"]

# Compiled on first use, as that takes a millisecond.
_TRN = r"^(.*?)\(([^\s()]+)\)\s*$"
BLOCK = 1 << 16  # bytes read at once
SAMPLE = 50  # lines from which the format is detected
LONGEST_COUNT = 18  # digits of a word's count
DAY = 86_400.0  # seconds; no utterance is longer


class Row:
    """An utterance's fields in a line; None = absent.

    Attributes:
        line: Line number, from 1.
        hypothesis, reference: The transcript, the reference text.
        keywords: Its keyword list.
        biasing: The words that count in B-WER, if the file has a column for them.
        predicted: The keywords that stage 1 selected.
        duration: Seconds.
    """

    __slots__ = (
        *("id", "line", "hypothesis", "reference", "keywords", "biasing"),
        *("predicted", "duration", "talk", "speaker", "context"),
    )

    def __init__(
        self,
        id: str,
        line: int,
        hypothesis: str | None = None,
        reference: str | None = None,
        keywords: Sequence[str] | None = None,
        biasing: Sequence[str] | None = None,
        predicted: tuple[str, ...] | None = None,
        duration: float | None = None,
        talk: str | None = None,
        speaker: str | None = None,
        context: str | None = None,
    ) -> None:
        self.id, self.line = id, line
        self.hypothesis, self.reference = hypothesis, reference
        self.keywords, self.biasing, self.predicted = keywords, biasing, predicted
        self.duration, self.talk, self.speaker, self.context = duration, talk, speaker, context


class Source(NamedTuple):
    """A file's rows by id, and how it was read."""

    path: str
    kind: str
    rows: Mapping[str, Row]


def read_source(path: Path | str, text_is: str = "hypothesis") -> Source:
    """Read a file of hypotheses or references, detecting its format.

    Args:
        text_is: What the text is if the format does not define it: "hypothesis" or "reference".
    Raises: InputError: the file is missing, empty or not UTF-8; a line differs in format from the others; an id
        occurs twice. The message names file and line.
    """
    path = str(path)
    kind, parse, lines = _format(path)
    rows: dict[str, Row] = {}
    for row in parse(path, lines, text_is):
        if (first := rows.setdefault(row.id, row)) is not row:
            raise InputError(
                f"{path}:{row.line} ({row.id}): this id is already in line {first.line}; expected each utterance once"
            )
    return Source(path, kind, rows)


def read_lists(path: Path | str) -> Source | tuple[str, ...]:
    """Read keyword lists: one per utterance, or a common list.

    Returns: Rows with `keywords` (from manifests, results, a deep-bias TSV, or id, tab, list as JSON or with commas),
        or the entries of a plain file, one per line, as the list of all utterances.
    Raises: InputError: as `read_source`, or an utterance without a list.
    """
    path = str(path)
    kind, _, lines = _format(path)
    if kind in ("Kaldi text", "trn"):
        return tuple(dict.fromkeys(intern(" ".join(line.split())) for line in lines if line.strip()))
    source = read_source(path)
    for row in source.rows.values():
        if row.keywords is None:
            if kind != "TSV":
                raise InputError(f'{path}:{row.line} ({row.id}): no list, expected a field "keywords"')
            row.keywords = _column(f"{path}:{row.line} ({row.id})", row.hypothesis or "")
    return source


def read_training(path: Path | str) -> dict[str, int]:
    """Read word counts of the training text: from lines `word<TAB>count`, or from any file of texts."""
    path = str(path)
    lines = list(_format(path)[2])
    first = [line.rstrip("\n").split("\t") for line in lines[:SAMPLE] if line.strip()]
    if all(len(cells) == 2 and cells[1].strip().isdecimal() for cells in first):
        counts = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            word, _, count = line.rstrip("\n").partition("\t")
            if not count.strip().isdecimal() or len(count) > LONGEST_COUNT:
                raise InputError(f"{path}:{number}: got {line.strip()!r}, expected a word, a tab and its count")
            counts[word] = int(count)
        return counts
    counts = {}
    for row in read_source(path, "reference").rows.values():
        for word in (row.reference or "").split():
            counts[word] = counts.get(word, 0) + 1
    return counts


def _lines(path: str) -> Iterator[str]:
    """Yield a file's lines, split at "\
" only: texts may contain other Unicode separators."""
    return chain.from_iterable(_blocks(path))


def _blocks(path: str) -> Iterator[list[str]]:
    """Yield blocks of lines: a whole file of lists would double the memory use."""
    done, encoding, block = 0, "utf-8-sig", b""
    try:
        with Path(path).open("rb") as file:
            while following := file.read(BLOCK) + file.readline():
                block = following
                text = block.decode(encoding)
                text = (text.replace("\r\n", "\n") if "\r" in text else text).removesuffix("\n")
                yield text.split("\n")
                done, encoding = done + block.count(b"\n"), "utf-8"
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; correct the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder, expected a file") from error
    except UnicodeDecodeError as error:
        line = done + error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8 ({error.reason}); save it as UTF-8") from error
    if block.endswith(b"\n"):
        yield [""]


Parser = Callable[[str, Iterable[str], str], Iterable[Row]]


def _format(path: str) -> tuple[str, Parser, Iterator[str]]:
    """Detect a file's format from its first lines; return name, parser and all lines."""
    lines = _lines(path)
    first, sample = [], []
    for line in lines:
        first.append(line)
        if line.strip():
            sample.append(line)
        if len(sample) == SAMPLE:
            break
    if not sample:
        raise InputError(f"{path}: empty, expected one line per utterance")
    return *_detect(sample), chain(first, lines)


def _detect(sample: Sequence[str]) -> tuple[str, Parser]:
    if sample[0].lstrip().startswith("{"):
        return "JSON lines", _json_lines
    if sample[0].lstrip().startswith("[") and "\t" not in sample[0]:
        return "JSON array", _json_array
    if any("\t" in line for line in sample):
        return "TSV", _tsv
    if all(re.match(_TRN, line) for line in sample):
        return "trn", _trn
    return "Kaldi text", _kaldi


# ---- plain formats ---------------------------------------------------------------------------------------------------


def _kaldi(path: str, lines: Iterable[str], text_is: str) -> Iterator[Row]:
    """`1089-134686-0000 he hoped there would be stew for dinner`"""
    for number, line in enumerate(lines, start=1):
        id, *text = line.split(maxsplit=1)[:2] if line.strip() else [""]
        if id:
            yield _with_text(Row(id, number), text_is, text[0].strip() if text else "")


def _trn(path: str, lines: Iterable[str], text_is: str) -> Iterator[Row]:
    """`he hoped there would be stew for dinner (1089-134686-0000)`"""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = re.match(_TRN, line)
        if match is None:
            raise InputError(f"{path}:{number}: got {_short(line)}, expected text and (id), as in the lines before it")
        yield _with_text(Row(match.group(2), number), text_is, match.group(1).strip())


def _tsv(path: str, lines: Iterable[str], text_is: str) -> Iterator[Row]:
    """Parse id and text, or a deep-bias TSV, whose text is a reference: see `sap2.deep_bias`."""
    for line, id, text, rare, keywords in parse_rows(path, enumerate(lines, start=1)):
        if keywords is None:
            yield _with_text(Row(id, line), text_is, text)
        else:
            yield Row(id, line, None, text, keywords, rare)


def _with_text(row: Row, text_is: str, text: str) -> Row:
    setattr(row, text_is, text)
    return row


def _column(where: str, cell: str) -> Sequence[str]:
    if cell.lstrip().startswith("["):
        return parse_list(where, cell, "keywords")
    return tuple(intern(" ".join(entry.split())) for entry in cell.split(",") if entry.strip())


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _json_lines(path: str, lines: Iterable[str], text_is: str) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield _row(where, number, json_object(line, where), text_is)


def _json_array(path: str, lines: Iterable[str], text_is: str) -> Iterator[Row]:
    import json

    text = "\n".join(lines)
    decoder = json.JSONDecoder()
    at = text.index("[") + 1
    while True:
        at = _after_space(text, at)
        if text[at : at + 1] == "]":
            return
        number = text.count("\n", 0, at) + 1
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg}); expected an array of objects") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not JSON ({error}); expected an array of objects") from error
        where = f"{path}:{number}"
        yield _row(where, number, checked_object(value, where, SURROGATE.search(text, at, end) is not None), text_is)
        at = _after_space(text, end)
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != "]":
            raise InputError(f"{path}:{number}: expected a comma or ] after this object of the array")


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _row(where: str, number: int, value: dict[str, Any], text_is: str) -> Row:
    id = _id_of(value)
    if id is None:
        raise InputError(f'{where}: no id, expected a field "id", or "audios" with the path of the recording')
    where = f"{where} ({id})"

    def take(names: Sequence[str], kinds: type | tuple[type, ...], expected: str) -> Any:
        for name in names:
            got = value.get(name)
            if got is None:
                continue
            if isinstance(got, bool) or not isinstance(got, kinds):
                raise InputError(f'{where}: field "{name}" is {_short(got)}, expected {expected}')
            return got
        return None

    def take_list(name: str) -> tuple[str, ...] | None:
        entries = take((name,), list, "a list of strings")
        if entries is not None and not all(isinstance(entry, str) for entry in entries):
            raise InputError(f'{where}: field "{name}" is {_short(entries)}, expected strings')
        return None if entries is None else tuple(map(intern, entries))

    row = Row(
        id,
        number,
        hypothesis=take(("hypothesis", "response"), str, "a string"),
        reference=take(("reference", "labels"), str, "a string"),
        keywords=take_list("keywords"),
        predicted=take_list("predicted"),
        duration=take(("duration",), (int, float), "a number of seconds"),
        talk=take(("talk",), str, "a string"),
        speaker=take(("speaker",), str, "a string"),
        context=take(("context",), str, "a string"),
    )
    if row.duration is not None and not 0 <= row.duration < DAY:
        raise InputError(f'{where}: field "duration" is {_short(row.duration)}, expected seconds of an utterance')
    if "hypothesis" not in value and value.get("messages"):
        _add_messages(row, where, value)
    text = take(("text",), str, "a string")
    if text is not None and row.reference is None:
        # A manifest's text is a reference; in a line of only id and text it is what `text_is` says.
        as_hypothesis = text_is == "hypothesis" and row.hypothesis is None and "audio" not in value
        _with_text(row, "hypothesis" if as_hypothesis else "reference", text)
    return row


def _id_of(value: Mapping[str, Any]) -> str | None:
    """Return a row's id, or else the recording's name without its ending."""
    for name in ("id", "key", "utt_id"):
        if isinstance(value.get(name), str | int) and str(value[name]):
            return str(value[name])
    audio = audio_of(value)
    return Path(audio).stem if audio else None


def _add_messages(row: Row, where: str, value: Mapping[str, Any]) -> None:
    """Add list and reference from ms-swift messages; split a joint answer into keywords and transcript."""
    from sap2.prompts import parse_joint

    message = parse_message(value, where)
    keywords = tuple(map(intern, message.keywords))
    row.reference = message.answer if row.reference is None else row.reference
    row.keywords = row.keywords if row.keywords is not None else keywords or None
    if message.joint:
        if row.hypothesis is not None:
            selected, unknown, row.hypothesis = parse_joint(row.hypothesis, keywords)
            row.predicted = (*selected, *unknown)
        if row.reference is not None:
            row.reference = parse_joint(row.reference, keywords)[2]


def _short(value: Any, length: int = 60) -> str:
    shown = repr(value)
    return shown if len(shown) <= length else shown[:length] + "…"
