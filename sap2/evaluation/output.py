"""Scores and comparisons formatted as text for a terminal, and as JSON; nothing is counted here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sap2.evaluation.comparison import Comparison, Difference, KeywordChange, UtteranceChange
from sap2.evaluation.figures import HALVES
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.scores import Measure, Row, Scores, Selection, Settings, System

__all__ = ["comparison_json", "comparison_text", "made_how", "scores_json", "scores_text"]

UNDEFINED = "–"
SHOWN = 10  # rows shown of long lists; the JSON and the report have all rows
NAMES = {
    "wer": "WER %",
    "u_wer": "U-WER %",
    "b_wer": "B-WER %",
    "keyword_precision": "keyword precision",
    "keyword_recall": "keyword recall",
    "keyword_f1": "keyword F1",
    "false_alarms_per_100": "false alarms / 100 utt.",
    "phrase_precision": "phrase precision",
    "phrase_recall": "phrase recall",
    "phrase_f1": "phrase F1",
    "word_recall": "list-word recall",
}
ROW_COLUMNS = ("wer", "u_wer", "b_wer", "keyword_precision", "keyword_recall")


# ---- text ------------------------------------------------------------------------------------------------------------


def scores_text(scores: Scores) -> str:
    """Format scores as `sap2 score` prints them."""
    blocks = [block for system in scores.systems for block in _system(scores, system)]
    if scores.selection is not None:
        blocks.append(_selection(scores.selection))
    return "\n\n".join([*blocks, made_how(scores.settings, len(scores.utterances))])


def comparison_text(comparison: Comparison) -> str:
    """Format a comparison as `sap2 compare` prints it."""
    heading = f"{comparison.b} compared with {comparison.a}"
    rows = [["", comparison.a, comparison.b, "difference", "95 % interval", "p"]]
    rows += [[NAMES[name], *_difference(name, figure)] for name, figure in comparison.figures.items()]
    blocks = [f"{heading}\n{_table(rows)}"]
    for label, changes in (("fewer", comparison.better), ("more", comparison.worse)):
        blocks.append("\n".join([f"{len(changes)} utterances with {label} errors", *_utterances(changes)]))
    blocks.append("\n".join([f"{len(comparison.keywords)} changed keywords", *_keywords(comparison.keywords)]))
    return "\n\n".join(blocks)


def _system(scores: Scores, system: System) -> Iterator[str]:
    title = f"{system.name} ({system.caption})" if system.caption else system.name
    rows = [["", "%", "95 % interval", "words", "subs", "ins", "dels"]]
    for half, name in HALVES.items():
        errors, measure = getattr(system, half), system.figures[name]
        counts = (errors.words, errors.substitutions, errors.insertions, errors.deletions)
        rows.append([NAMES[name][:-2], _value(measure, "{:.2f}"), _interval(measure, "{:.2f}"), *map(str, counts)])
    yield f"{title}\n{_table(rows)}"
    if system.missing:
        yield f"{len(system.missing)} missing utterances counted as deletions: {_some(system.missing)}"
    if any(utterance.keywords for utterance in scores.utterances):
        yield _keyword_figures(system)
    if system.breakdown:
        yield _breakdown(system.breakdown)
    if system.confused:
        yield _confused(system)


def _keyword_figures(system: System) -> str:
    rows = [["", "precision", "recall", "F1", "right", "false alarms", "missed"]]
    rows.append(_counted("keywords", system.figures, "keyword_", system.keywords))
    if system.phrases != KeywordCounts():
        rows.append(_counted("of several words", system.figures, "phrase_", system.phrases))
        recall = system.figures["word_recall"]
        shown = f"{_value(recall, '{:.3f}')} {_interval(recall, '{:.3f}')}".strip()
        rows.append(["their words", "", shown, "", *_counts(system.list_words)])
    alarms = system.figures["false_alarms_per_100"]
    rate = f"{_value(alarms, '{:.1f}')} {_interval(alarms, '{:.1f}')}".rstrip()
    return f"{_table(rows)}\nfalse alarms per 100 utterances: {rate}"


def _selection(selection: Selection) -> str:
    rows = [["", "precision", "recall", "F1", "right", "false alarms", "missed"]]
    rows.append(_counted("stage 1", selection.figures, "", selection.counts))
    kept, listed = selection.selected_per_utterance, selection.listed_per_utterance
    return f"{_table(rows)}\nstage 1 kept {kept:.1f} of {listed:.1f} keywords per utterance"


def _counted(label: str, figures: Mapping[str, Measure], prefix: str, counts: KeywordCounts) -> list[str]:
    shown = (figures[prefix + name] for name in ("precision", "recall", "f1"))
    cells = (f"{_value(figure, '{:.3f}')} {_interval(figure, '{:.3f}')}".strip() for figure in shown)
    return [label, *cells, *_counts(counts)]


def _counts(counts: KeywordCounts) -> list[str]:
    return [str(counts.tp), str(counts.fp), str(counts.fn)]


def _breakdown(rows: Sequence[Row]) -> str:
    table = [["", "utterances", *(NAMES[name] for name in ROW_COLUMNS)]]
    left_out: dict[str, int] = {}
    seen: dict[str, int] = {}
    for row in rows:
        seen[row.group] = seen.get(row.group, 0) + 1
        if seen[row.group] > SHOWN:
            left_out[row.group] = left_out.get(row.group, 0) + 1
            continue
        patterns = ("{:.2f}", "{:.2f}", "{:.2f}", "{:.3f}", "{:.3f}")
        cells = (
            _value(row.figures.get(name, Measure(None)), pattern)
            for name, pattern in zip(ROW_COLUMNS, patterns, strict=True)
        )
        table.append([f"{row.group}: {row.label}", str(row.utterances), *cells])
    lines = [f"… and {count} more by {group}" for group, count in left_out.items()]
    return "\n".join([_table(table), *lines])


def _confused(system: System) -> str:
    rows = [["most confused keywords", "said", "missed", "false alarms", "written instead"]]
    for errors in system.confused[:SHOWN]:
        instead = ", ".join(f"{text or '(nothing)'} ×{count}" for text, count in errors.instead[:4])
        rows.append([errors.keyword, str(errors.said), str(errors.missed), str(errors.false_alarms), instead])
    return _table(rows, last_left=True)


def _difference(name: str, figure: Difference) -> list[str]:
    pattern = "{:.3f}" if name.endswith(("precision", "recall", "f1")) else "{:.2f}"
    values = [UNDEFINED if value is None else pattern.format(value) for value in (figure.a, figure.b)]
    signed = pattern.replace(":", ":+")
    p = UNDEFINED if figure.p is None else f"{figure.p:.4f}"
    return [*values, _value(figure.difference, signed), _interval(figure.difference, signed), p]


def _utterances(changes: Sequence[UtteranceChange]) -> Iterator[str]:
    for change in changes[:SHOWN]:
        yield f"  {change.id}: {change.errors_a} to {change.errors_b} errors"
    if len(changes) > SHOWN:
        yield f"  … and {len(changes) - SHOWN} more"


def _keywords(changes: Sequence[KeywordChange]) -> Iterator[str]:
    for change in changes[:SHOWN]:
        sides = (
            ("now found", change.won),
            ("now missed", change.lost),
            ("false alarm gone", change.alarms_ended),
            ("new false alarm", change.alarms_new),
        )
        yield f"  {change.keyword}: " + "; ".join(f"{side} in {_some(ids, 3)}" for side, ids in sides if ids)
    if len(changes) > SHOWN:
        yield f"  … and {len(changes) - SHOWN} more"


def made_how(settings: Settings, utterances: int) -> str:
    """Describe how scores were made, in a sentence for every output."""
    drawn = settings.unit + "s"
    intervals = (
        f"95 % bootstrap intervals over {settings.units} {drawn}, {settings.samples} samples, seed {settings.seed}"
        if settings.samples
        else "no intervals"
    )
    missing = "; missing hypotheses counted as deletions" if settings.missing_as_deletions else ""
    return (
        f"{utterances} utterances; definition: {settings.definition} ({settings.definition_source}); "
        f"normaliser: {settings.normaliser} ({settings.normaliser_rule}); {settings.words}; {intervals}{missing}."
    )


def _table(rows: Sequence[Sequence[str]], last_left: bool = False) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        if last_left:
            cells[-1] = row[-1]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _value(measure: Measure, pattern: str) -> str:
    return UNDEFINED if measure.value is None else pattern.format(measure.value)


def _interval(measure: Measure, pattern: str) -> str:
    if measure.low is None or measure.high is None:
        return ""
    return f"[{pattern.format(measure.low)}, {pattern.format(measure.high)}]"


def _some(ids: Iterable[str], shown: int = 5) -> str:
    ids = list(ids)
    return ", ".join(ids[:shown]) + (f" and {len(ids) - shown} more" if len(ids) > shown else "")


# ---- JSON ------------------------------------------------------------------------------------------------------------


def scores_json(scores: Scores) -> dict[str, Any]:
    """Convert scores to JSON, without alignments: settings, systems, stage 1, and counts per utterance."""
    return {
        "settings": _plain(scores.settings),
        "reference": scores.reference_source,
        "lists": scores.lists_source,
        "systems": [_system_json(scores, system) for system in scores.systems],
        "selection": None if scores.selection is None else _selection_json(scores.selection),
    }


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Convert a comparison to JSON."""
    return dict(_plain(comparison))


def _system_json(scores: Scores, system: System) -> dict[str, Any]:
    columns = ("all_words", "all_errors", "biased_words", "biased_errors", "keyword_tp", "keyword_fp", "keyword_fn")
    by_utterance = zip(*(system.columns[name].tolist() for name in columns), strict=True)
    return {
        "name": system.name,
        "caption": system.caption,
        "source": system.source,
        "figures": _measures(system.figures),
        "counts": {half: _plain(getattr(system, half)) for half in HALVES},
        **{name: _plain(getattr(system, name)) for name in ("keywords", "phrases", "list_words")},
        "error_types": [_plain(kind) for kind in system.error_types],
        "breakdown": [_row_json(row) for row in system.breakdown],
        "confused": [_plain(errors) for errors in system.confused],
        "missing": list(system.missing),
        "utterances": [
            {"id": utterance.id, **dict(zip(columns, counts, strict=True))}
            for utterance, counts in zip(scores.utterances, by_utterance, strict=True)
        ],
    }


def _selection_json(selection: Selection) -> dict[str, Any]:
    return {
        "figures": _measures(selection.figures),
        "counts": _plain(selection.counts),
        "listed_per_utterance": selection.listed_per_utterance,
        "selected_per_utterance": selection.selected_per_utterance,
        "breakdown": [_row_json(row) for row in selection.breakdown],
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "group": row.group,
        "label": row.label,
        "utterances": row.utterances,
        "figures": _measures(row.figures),
        "keywords": _plain(row.keywords),
    }


def _measures(figures: Mapping[str, Measure]) -> dict[str, Any]:
    return {
        name: {"value": measure.value, "low": measure.low, "high": measure.high} for name, measure in figures.items()
    }


def _plain(value: Any) -> Any:
    """Convert nested named tuples to dictionaries."""
    if hasattr(value, "_asdict"):
        return {name: _plain(field) for name, field in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
