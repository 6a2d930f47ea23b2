"""The stage `evaluate`: score the results of the four contexts; write metrics, table, plots and report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from sap2.evaluation.figures import HALVES, KINDS
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.plots import draw_error_rates, draw_recall
from sap2.evaluation.report import markdown_table, render_report
from sap2.evaluation.scores import Measure, Scores, Selection
from sap2.evaluation.testset import score_contexts
from sap2.files import atomic_dir, atomic_file, json_file, write_csv

__all__ = ["EvaluationSettings", "evaluate"]


class EvaluationSettings(Protocol):
    """The keys of params' section `evaluation` that this stage reads."""

    @property
    def bootstrap_samples(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def normaliser(self) -> str: ...
    @property
    def definition(self) -> str: ...


def evaluate(results: dict[str, Path], output: Path, section: EvaluationSettings) -> dict[str, Any]:
    """Score results and write `metrics.json`, `table.md`, `report.html` and `plots/` into the folder `output`.

    Args:
        results: A results file per context: "none", "full", "predicted", "oracle". A `recogniser.json`
            beside them states which lists the recogniser was trained on.
        output: Other files in this folder are not changed.
    Returns: The content of `metrics.json`: figures by context, those of stage 1 under "pruning", and the settings. A
    figure
        whose divisor is 0 (such as B-WER if no list word was spoken) is null.
    Raises:
        InputError: results are broken, incomplete or of different utterances.
        ParamsError: unknown definition or normaliser.
    """
    output = Path(output)
    scores = score_contexts(results, section.definition, section.normaliser, section.bootstrap_samples, section.seed)
    scores = scores._replace(trained_lists=_trained_lists(results))
    metrics = _metrics(scores)
    rates = [{"context": system.name, **_rates(metrics[system.name])} for system in scores.systems]
    by_size = _by_list_size(scores.selection)
    with atomic_dir(output / "plots") as plots:
        write_csv(plots / "error_rates.csv", rates)
        write_csv(plots / "counts.csv", _counts(scores))
        draw_error_rates(rates, plots / "b_wer.png")
        if by_size:
            write_csv(plots / "recall_by_list_size.csv", by_size)
        if len(by_size) > 1:
            draw_recall(by_size, plots / "recall_by_list_size.png")
    _write_text(output / "table.md", markdown_table(scores))
    _write_text(output / "report.html", render_report(scores))
    _write_text(output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    return metrics


def _metrics(scores: Scores) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for system in scores.systems:
        # Without multi-word entries the phrase figures are empty and the word figures equal the keyword figures.
        shown = {
            name: figure
            for name, figure in system.figures.items()
            if _has_phrases(scores) or not name.startswith(("phrase_", "word_"))
        }
        metrics[system.name] = _flat(shown)
    if scores.selection is not None:
        chosen = scores.selection
        metrics["pruning"] = {
            **_flat(chosen.figures),
            **{name: getattr(chosen.counts, name) for name in ("tp", "fp", "fn")},
            "listed_per_utterance": _rounded(chosen.listed_per_utterance),
            "selected_per_utterance": _rounded(chosen.selected_per_utterance),
        }
    settings = scores.settings
    return {
        **metrics,
        "definition": settings.definition,
        "normaliser": settings.normaliser,
        "utterances": len(scores.utterances),
        "bootstrap_unit": settings.unit,
        "bootstrap_units": settings.units,
        "bootstrap_samples": settings.samples,
        "seed": settings.seed,
    }


def _trained_lists(results: Mapping[str, Path]) -> str:
    noted = next(iter(results.values())).with_name("recogniser.json")
    return str(json_file(noted, 'run "sap2 decode" again').get("lists", "")) if noted.is_file() else ""


def _has_phrases(scores: Scores) -> bool:
    return any(" " in keyword.strip() for utterance in scores.utterances for keyword in utterance.keywords)


def _flat(figures: Mapping[str, Measure]) -> dict[str, float | None]:
    """Flatten each figure to `name`, `name_low`, `name_high`."""
    flat: dict[str, float | None] = {}
    for name, figure in figures.items():
        flat |= {
            name: _rounded(figure.value),
            f"{name}_low": _rounded(figure.low),
            f"{name}_high": _rounded(figure.high),
        }
    return flat


def _rounded(value: float | None) -> float | None:
    """Round to six decimals: far below any interval, and equal on all machines."""
    return None if value is None else round(value, 6)


def _rates(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {rate + bound: figures[rate + bound] for rate in HALVES.values() for bound in ("", "_low", "_high")}


def _counts(scores: Scores) -> list[dict[str, Any]]:
    return [
        {
            "context": system.name,
            "rate": rate,
            **{kind: getattr(getattr(system, half), kind) for kind in ("words", *KINDS)},
        }
        for system in scores.systems
        for half, rate in HALVES.items()
    ]


def _by_list_size(selection: Selection | None) -> list[dict[str, Any]]:
    """Stage 1's precision and recall by list size; no rows without stage 1."""
    if selection is None:
        return []
    if not selection.breakdown:  # all lists have the same size
        size = f"{selection.listed_per_utterance:g}"
        return [_size_row(size, len(selection.by_utterance), selection.counts, selection.figures)]
    return [_size_row(row.label, row.utterances, row.keywords, row.figures) for row in selection.breakdown]


def _size_row(size: str, utterances: int, counts: KeywordCounts, figures: Mapping[str, Measure]) -> dict[str, Any]:
    return {
        "list_size": size,
        "utterances": utterances,
        "spoken": counts.tp + counts.fn,
        **_flat({name: figures[name] for name in ("recall", "precision")}),
    }


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
