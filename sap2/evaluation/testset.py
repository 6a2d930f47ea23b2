"""Scores from files: hypotheses, references, lists and training words are matched by id, then scored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sap2.errors import InputError
from sap2.evaluation.keywords import caseless
from sap2.evaluation.normalise import normalise
from sap2.evaluation.rates import names
from sap2.evaluation.reading import Row, Source, read_lists, read_source, read_training
from sap2.evaluation.scores import Scores
from sap2.evaluation.scoring import Details, Given, Options, score_systems

__all__ = ["score_contexts", "score_files"]

Rows = Mapping[str, Row]


def score_files(
    hypotheses: Sequence[Path | str],
    reference: Path | str | None = None,
    lists: Path | str | None = None,
    *,
    training: Path | str | None = None,
    definition: str = "deep-bias",
    normaliser: str = "none",
    samples: int = 1000,
    seed: int = 1,
    unit: str = "auto",
    missing_as_deletions: bool = False,
) -> Scores:
    """Score files of hypotheses, one per system, on a common set of references.

    Args:
        hypotheses: Files in any format of `reading`.
        reference: None = the references in the hypothesis files.
        lists: A file of lists by utterance, or a common list; None = those in the references or hypotheses.
        training: Words of the training text, to distinguish seen from unseen keywords.
        definition, normaliser, samples, seed, unit, missing_as_deletions: See `scoring.Options`.
    Raises: InputError: an unreadable file, differing ids, or no references; the message names file, line and id.
    """
    options = Options(definition, normaliser, samples, seed, unit, missing_as_deletions)
    sources = [read_source(path) for path in hypotheses]
    for source in sources:
        _check_all(source, "hypothesis", 'no hypothesis, expected text, or a field "hypothesis" or "response"')
    expected = _references(sources, reference)
    for source in sources:
        _check_ids(expected, source, missing_as_deletions)
    given = _given(expected, sources, lists, training, normaliser, reference)
    systems = {}
    for name, source in zip(_names(sources), sources, strict=True):
        systems[name] = ("", source.path, {id: row.hypothesis for id, row in source.rows.items()})
    return score_systems(given, systems, options)


def score_contexts(
    paths: dict[str, Path],
    definition: str = "deep-bias",
    normaliser: str = "none",
    samples: int = 1000,
    seed: int = 1,
) -> Scores:
    """Score the results of `sap2 decode`, one file per context, and stage 1's selections in them.

    Raises: InputError, ParamsError: see `results.read_contexts` and `scoring.score`.
    """
    from sap2.evaluation.results import CONTEXTS, read_contexts

    contexts = read_contexts(paths)
    first = next(iter(contexts.values()))
    selections = contexts.get("predicted", {})
    given = Given(
        references={id: result.reference for id, result in first.items()},
        lists={id: result.keywords for id, result in first.items()},
        predicted={id: result.predicted or () for id, result in selections.items()},
        details={id: Details(result.duration, result.talk, result.speaker) for id, result in first.items()},
    )
    systems = {
        context: (CONTEXTS[context], str(paths[context]), {id: result.hypothesis for id, result in by_id.items()})
        for context, by_id in contexts.items()
    }
    return score_systems(given, systems, Options(definition, normaliser, samples, seed))


def _references(sources: Sequence[Source], path: Path | str | None) -> Source:
    """Return the source of the references: the given file, else the first hypothesis file, if all agree."""
    if path is not None:
        source = read_source(path, "reference")
        _check_all(source, "reference", 'no reference, expected text, or a field "text", "reference" or "labels"')
        return source
    first, *others = sources
    _check_all(first, "reference", "no reference; give a file of references with --ref")
    for other in others:
        for id, row in other.rows.items():
            mine = first.rows.get(id)
            if mine is not None and row.reference != mine.reference:
                raise InputError(
                    f"{other.path}:{row.line} ({id}): its reference differs from that in {first.path}:{mine.line}; "
                    "systems can only be compared on the same data; give a common file of references with --ref"
                )
    return first


def _check_all(source: Source, field: str, fault: str) -> None:
    for id, row in source.rows.items():
        if getattr(row, field) is None:
            raise InputError(f"{source.path}:{row.line} ({id}): {fault}")


def _check_ids(expected: Source, got: Source, missing_is_fine: bool) -> None:
    missing = [] if missing_is_fine else [id for id in expected.rows if id not in got.rows]
    extra = [id for id in got.rows if id not in expected.rows]
    faults = []
    if missing:
        faults.append(f"{names(missing)} missing (line {expected.rows[missing[0]].line} of {expected.path})")
    if extra:
        faults.append(f"{names(extra)} not in {expected.path} (line {got.rows[extra[0]].line} of {got.path})")
    if faults:
        hint = "; --missing-as-deletions counts missing utterances as deletions" if missing else ""
        raise InputError(
            f"{got.path}: {'; '.join(faults)}; got {len(got.rows)} utterances, expected the {len(expected.rows)} of "
            f"{expected.path}: a score must cover all utterances{hint}"
        )


def _given(
    expected: Source,
    sources: Sequence[Source],
    lists: Path | str | None,
    training: Path | str | None,
    normaliser: str,
    reference: Path | str | None,
) -> Given:
    # The first source with a field of an utterance wins.
    known = [expected, *sources]
    shared: tuple[str, ...] | None = None
    if lists is not None:
        source = read_lists(lists)
        if isinstance(source, Source):
            _check_ids(expected, source, missing_is_fine=False)
            known.insert(0, source)
        else:
            shared = source
    ids = expected.rows
    details = {}
    described = [source for source in known if source.kind in ("JSON lines", "JSON array")]
    for id in ids if described else ():
        rows = [source.rows[id] for source in described if id in source.rows]
        details[id] = Details(**{field: _first(rows, field) for field in Details._fields})
    return Given(
        references={id: row.reference or "" for id, row in ids.items()},
        lists=dict.fromkeys(ids, shared) if shared is not None else _field(ids, known, "keywords"),
        biasing={} if shared is not None else _field(ids, known, "biasing"),
        predicted=_field(ids, known, "predicted"),
        details=details,
        training=None if training is None else _training_words(training, normaliser),
        reference_source="" if reference is None else str(reference),
        lists_source="" if lists is None else str(lists),
    )


def _field(ids: Rows, sources: Sequence[Source], field: str) -> dict[str, tuple[str, ...]]:
    """Return a field of every utterance, from the first file that has it; empty if none does."""
    for source in sources:
        having = [id for id, row in source.rows.items() if getattr(row, field) is not None]
        if not having:
            continue
        if len(having) < len(source.rows):
            lacking = next(row for row in source.rows.values() if getattr(row, field) is None)
            raise InputError(
                f'{source.path}:{lacking.line} ({lacking.id}): no "{field}", which other lines have; '
                "expected it in all lines or in none"
            )
        if field == "predicted":
            return {id: getattr(source.rows[id], field) for id in ids if id in source.rows}
        if all(id in source.rows for id in ids):
            return {id: getattr(source.rows[id], field) for id in ids}
    return {}


def _first(rows: Sequence[Row], field: str) -> Any:
    return next((value for value in (getattr(row, field) for row in rows) if value is not None), None)


def _training_words(path: Path | str, normaliser: str) -> set[str]:
    return {word for text in read_training(path) for word in caseless(normalise(text, normaliser))}


def _names(sources: Sequence[Source]) -> list[str]:
    """Return short system names: the file names without ending if they are distinct, else the paths."""
    stems = [Path(source.path).name.removesuffix(Path(source.path).suffix) for source in sources]
    if len(set(stems)) == len(stems):
        return stems
    paths = [source.path for source in sources]
    if len(set(paths)) < len(paths):
        raise InputError(f"{paths[-1]}: given twice; give each system's file only once")
    return paths
