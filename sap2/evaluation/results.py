"""Reader of the results of `sap2 decode`: one file per context, checked and matched by id."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sap2.errors import InputError
from sap2.evaluation.rates import check_same_ids
from sap2.files import read_jsonl

__all__ = ["CONTEXTS", "Result", "read_contexts"]

# Context -> its description in the outputs, in the order of all tables.
CONTEXTS = {
    "none": "no keywords",
    "full": "the whole list",
    "predicted": "stage 1's answer",
    "oracle": "the spoken keywords",
}


@dataclass(frozen=True)
class Result:
    """A transcribed utterance; `predicted` is stage 1's selection, required in the context "predicted" only."""

    id: str
    hypothesis: str
    reference: str
    keywords: tuple[str, ...]
    predicted: tuple[str, ...] | None
    duration: float | None
    talk: str | None
    speaker: str | None


def read_contexts(paths: dict[str, Path]) -> dict[str, dict[str, Result]]:
    """Read results by context, in the order of `CONTEXTS`, then by id, in the order of the first context.

    Raises: InputError: no or unknown contexts; a line that is not a result or repeats an id; contexts that do not have
    the
        same utterances with the same references and lists. The message names file, line and id.
    """
    unknown = [context for context in paths if context not in CONTEXTS]
    if unknown or not paths:
        got = ", ".join(str(paths[context]) for context in unknown) or "no results"
        raise InputError(f"{got}: expected files named after contexts, CONTEXT.jsonl of: {', '.join(CONTEXTS)}")
    contexts = {context: _read(paths[context], context) for context in CONTEXTS if context in paths}
    first, *others = contexts
    expected = contexts[first]
    for other in others:
        results = contexts[other]
        check_same_ids(expected, results, str(paths[other]), str(paths[first]))
        for id, result in expected.items():
            for field in ("reference", "keywords"):
                if getattr(results[id], field) != getattr(result, field):
                    raise InputError(
                        f"{paths[other]} ({id}): its {field} differs from that in {paths[first]}; "
                        "contexts can only be compared on the same data; decode all contexts from the same manifest"
                    )
    return {context: {id: by_id[id] for id in expected} for context, by_id in contexts.items()}


def _read(path: Path, context: str) -> dict[str, Result]:
    results: dict[str, Result] = {}
    lines: dict[str, int] = {}
    for number, row in read_jsonl(path):
        result = _result(row, f"{path}:{number}", context)
        if result.id in results:
            raise InputError(
                f"{path}:{number} ({result.id}): this id is already in line {lines[result.id]}; "
                "expected each utterance once"
            )
        results[result.id] = result
        lines[result.id] = number
    if not results:
        raise InputError(f'{path}: no results, expected one line per utterance; run "sap2 decode" again')
    return results


def _result(row: dict[str, Any], where: str, context: str) -> Result:
    def take(field: str, kinds: type | tuple[type, ...], expected: str, optional: bool = False) -> Any:
        value = row.get(field)
        if (value is None and optional) or (isinstance(value, kinds) and not isinstance(value, bool)):
            return value
        got = repr(value) if field in row else "nothing"
        raise InputError(f'{where}: field "{field}" is {got}, expected {expected}; run "sap2 decode" again')

    def take_list(field: str, optional: bool = False) -> tuple[str, ...] | None:
        values = take(field, list, "a list of strings", optional)
        if values is not None and not all(isinstance(value, str) for value in values):
            raise InputError(f'{where}: field "{field}" is {values!r}, expected strings; run "sap2 decode" again')
        return None if values is None else tuple(values)

    id = take("id", str, "a string")
    where = f"{where} ({id})"
    if row.get("context", context) != context:
        raise InputError(
            f"{where}: context is {row['context']!r}, expected {context!r}; give each context its own file"
        )
    return Result(
        id=id,
        hypothesis=take("hypothesis", str, "a string"),
        reference=take("reference", str, "a string"),
        keywords=take_list("keywords") or (),
        predicted=take_list("predicted", optional=context != "predicted"),
        duration=take("duration", (int, float), "a number of seconds", optional=True),
        talk=take("talk", str, "a string", optional=True),
        speaker=take("speaker", str, "a string", optional=True),
    )
