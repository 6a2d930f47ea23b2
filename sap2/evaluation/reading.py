"""Reading hypotheses, references and lists in the formats of the field, told apart by their content, never by name.

JSON lines or a JSON array: our manifests and results, and ms-swift's messages with `response` and `labels`.
Tabs: id, text, and as in is21_deep_bias the rare words and the list as JSON. `(id)` at the end of each line: trn.
Anything else: Kaldi's `text`, the id first. Utterances are known by their ids, whatever the order of the lines.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from sap2.errors import InputError
from sap2.evaluation.keywords import ListCell
from sap2.files import SURROGATE, checked_object, json_object

__all__ = ["Row", "Source", "read_lists", "read_source", "read_training"]

# Compiled when a file of their format is met: that takes a millisecond.
_TRN = r"^(.*?)\(([^\s()]+)\)\s*$"
_KEYWORDS = r"(?s)<\|startofcontext\|>(.*?)<\|endofcontext\|>"
_AUDIO = r"(?s)<audio>(.*?)</audio>"
BLOCK = 1 << 16  # bytes read at once
SAMPLE = 50  # lines by which a format is told
LINES_AT_ONCE = 50  # of which lists are read together: what that takes stays in the processor's cache
LONGEST_COUNT = 18  # characters of a word's count
DAY = 86_400.0  # seconds; no utterance is longer


class Row:
    """What one line says of one utterance; None = nothing.

    Attributes:
        line: Its number in the file, from 1.
        hypothesis, reference: What was written, what was said.
        keywords: Its list.
        biasing: The words that count in B-WER, where a column of their own names them.
        predicted: Stage 1's answer.
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
    """Read a file of hypotheses or references.

    Args:
        text_is: What its text is where the format does not say: "hypothesis" or "reference".
    Raises: InputError: the file is missing, empty or not UTF-8; a line does not have the format of the others; an id
        comes twice. The message names file and line.
    """
    path = str(path)
    kind, parse, lines = _format(path)
    rows: dict[str, Row] = {}
    for row in parse(path, lines, text_is):
        if (first := rows.setdefault(row.id, row)) is not row:
            raise InputError(
                f"{path}:{row.line} ({row.id}): this id stands in line {first.line} already; "
                "each utterance must come once"
            )
    return Source(path, kind, rows)


def read_lists(path: Path | str) -> Source | tuple[str, ...]:
    """Read keyword lists: one an utterance, or one for all.

    Returns: Rows with `keywords` (from manifests, results, a deep-bias TSV, or id, tab, list in JSON or with commas);
        or the entries of a plain file, one a line, which are everyone's list.
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
                raise InputError(f'{path}:{row.line} ({row.id}): no list in it, expected a field "keywords"')
            row.keywords = _column(f"{path}:{row.line} ({row.id})", row.hypothesis or "")
    return source


def read_training(path: Path | str) -> dict[str, int]:
    """Words of the training text and how often they come: from lines `word<TAB>count`, or from any file of texts."""
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
    """A file's lines; only "\\n" ends one: other separators of Unicode may stand inside a text."""
    return chain.from_iterable(_blocks(path))


def _blocks(path: str) -> Iterator[list[str]]:
    """Some lines at a time: a whole file of lists is as much memory as everything else together."""
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
    """What a file's first lines look like, and all its lines."""
    lines = _lines(path)
    first, sample = [], []
    for line in lines:
        first.append(line)
        if line.strip():
            sample.append(line)
        if len(sample) == SAMPLE:
            break
    if not sample:
        raise InputError(f"{path}: empty, expected one line an utterance")
    return *_told_by(sample), chain(first, lines)


def _told_by(sample: Sequence[str]) -> tuple[str, Parser]:
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
    """`1089-134686-0000<TAB>he hoped …<TAB>["stew"]<TAB>["aubigny", "stew", …]`; hypotheses end after the text."""
    lines, start = iter(lines), 1
    while split := [line.split("\t") for line in islice(lines, LINES_AT_ONCE)]:
        lists = iter(ListCell.read_all([cells[-1].strip() for cells in split if len(cells) > 2]))
        for number, cells in enumerate(split, start):
            listed = next(lists) if len(cells) > 2 else None
            if not (id := cells[0].strip()):
                if not any(map(str.strip, cells)):
                    continue
                raise InputError(f"{path}:{number}: no id before the first tab; expected id, tab, text")
            if len(cells) < 3:
                yield _with_text(Row(id, number), text_is, cells[1].strip() if len(cells) > 1 else "")
                continue
            where = f"{path}:{number} ({id})"
            if len(cells) > 4:
                raise InputError(f"{where}: {len(cells)} columns, expected id, text, rare words and list at most")
            if len(cells) == 3:
                biasing = keywords = listed or _json_column(where, cells[2].strip(), "rare words")
            else:
                biasing = _json_column(where, cells[2].strip(), "rare words")
                keywords = listed or _json_column(where, cells[3].strip(), "list")
            yield Row(id, number, None, cells[1].strip(), keywords, biasing)
        start += LINES_AT_ONCE


def _with_text(row: Row, text_is: str, text: str) -> Row:
    setattr(row, text_is, text)
    return row


def _json_column(where: str, cell: str, what: str) -> Sequence[str]:
    if (simple := ListCell.read(cell)) is not None:
        return simple
    import json

    try:
        return tuple(map(intern, json.loads(cell)))
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {what} {_short(cell)} are no JSON list of strings ({error})") from error


def _column(where: str, cell: str) -> Sequence[str]:
    if cell.lstrip().startswith("["):
        return _json_column(where, cell, "keywords")
    return tuple(intern(" ".join(one.split())) for one in cell.split(",") if one.strip())


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
            raise InputError(f"{path}:{number}: the array does not go on with a comma or end with ]")


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
            found = value.get(name)
            if found is None:
                continue
            if isinstance(found, bool) or not isinstance(found, kinds):
                raise InputError(f'{where}: field "{name}" is {_short(found)}, expected {expected}')
            return found
        return None

    def take_list(name: str) -> tuple[str, ...] | None:
        found = take((name,), list, "a list of strings")
        if found is not None and not all(isinstance(one, str) for one in found):
            raise InputError(f'{where}: field "{name}" is {_short(found)}, expected strings')
        return None if found is None else tuple(map(intern, found))

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
    messages = value.get("messages")
    if "hypothesis" not in value and messages:
        _add_messages(row, where, messages)
    text = take(("text",), str, "a string")
    if text is not None and row.reference is None:
        # A manifest's text is what was said; a line of id and text alone is what the file is for.
        as_hypothesis = text_is == "hypothesis" and row.hypothesis is None and "audio" not in value
        _with_text(row, "hypothesis" if as_hypothesis else "reference", text)
    return row


def _id_of(value: Mapping[str, Any]) -> str | None:
    """Its own id, else the recording's name without its ending."""
    for name in ("id", "key", "utt_id"):
        if isinstance(value.get(name), str | int) and str(value[name]):
            return str(value[name])
    audios = value.get("audios") or value.get("audio")
    audio = audios[0] if isinstance(audios, list) else audios
    if isinstance(audio, dict):
        audio = audio.get("path")
    if not isinstance(audio, str):
        turns = value.get("messages")
        contents = [turn.get("content") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
        match = next(filter(None, (re.search(_AUDIO, one) for one in contents if isinstance(one, str))), None)
        audio = match.group(1) if match else None
    return Path(audio).stem if audio else None


def _add_messages(row: Row, where: str, messages: Any) -> None:
    """What ms-swift's messages say: the list stands in the prompt, the answer may hold keywords and a transcript."""
    from sap2.prompts import parse_joint

    if not isinstance(messages, list):
        raise InputError(f'{where}: field "messages" is {_short(messages)}, expected a list of turns')
    turns = {str(turn.get("role")): turn.get("content") for turn in messages if isinstance(turn, dict)}
    prompt, answer = turns.get("user"), turns.get("assistant")
    if not isinstance(prompt, str):
        raise InputError(f"{where}: messages without a user's text")
    between = re.search(_KEYWORDS, prompt)
    listed = between.group(1) if between else ""
    # Separated by commas, else by spaces.
    pieces = [" ".join(one.split()) for one in (listed.split(",") if "," in listed else listed.split())]
    keywords = tuple(intern(one) for one in pieces if one)
    asked = re.sub(_KEYWORDS, "", re.sub(_AUDIO, "", prompt)).lower()
    if row.reference is None and isinstance(answer, str):
        row.reference = answer
    if "transcribe" not in asked:
        raise InputError(
            f"{where}: its prompt asks for keywords, so it holds no transcript; expected rows that transcribe "
            '(stage 1\'s answers are scored from manifests or results with "predicted")'
        )
    row.keywords = row.keywords if row.keywords is not None else keywords or None
    if "select keywords" in asked:  # both stages in one answer
        if row.hypothesis is not None:
            selected, unknown, row.hypothesis = parse_joint(row.hypothesis, keywords)
            row.predicted = (*selected, *unknown)
        if row.reference is not None:
            row.reference = parse_joint(row.reference, keywords)[2]


def _short(value: Any, length: int = 60) -> str:
    shown = repr(value)
    return shown if len(shown) <= length else shown[:length] + "…"
