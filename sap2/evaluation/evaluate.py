"""The stage `evaluate`: results of the four contexts in; metrics, table, plots and report out."""

import csv
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sap2.evaluation.figures import CONTEXT_FIGURES, HALVES, KINDS, SELECTION_FIGURES, error_columns, keyword_columns
from sap2.evaluation.plots import draw_error_rates, draw_recall
from sap2.evaluation.report import markdown_table, render_report
from sap2.evaluation.scores import ContextScores, Scores, score_contexts
from sap2.evaluation.significance import measure, measure_ratio, resample
from sap2.files import atomic_dir, atomic_file

__all__ = ["EvaluationSettings", "evaluate"]

RATES = ("wer", "u_wer", "b_wer")
BOUNDS = ("", "_low", "_high")


class EvaluationSettings(Protocol):
    """The `evaluation` section of the params, as far as this stage reads it."""

    bootstrap_samples: int
    seed: int
    normaliser: str
    definition: str


def evaluate(results: dict[str, Path], output: Path, section: EvaluationSettings) -> dict[str, Any]:
    """Score results and write `metrics.json`, `table.md`, `report.html` and `plots/` into the folder `output`.

    Args:
        results: A results file for each context there is: "none", "full", "predicted", "oracle".
        output: Other files in this folder are left alone.
    Returns: What `metrics.json` holds: figures by context, stage 1's under "pruning", and how they were made. A figure
        with nothing to divide by (B-WER where no list word was spoken) is null.
    Raises:
        InputError: results that are broken, incomplete or not on the same utterances.
        ParamsError: an unknown definition or normaliser.
    """
    output = Path(output)
    scores = score_contexts(results, section.definition, section.normaliser)
    metrics = _metrics(scores, section)
    rates = [{"context": context, **_rates(metrics[context])} for context in scores.contexts]
    by_size = _by_list_size(scores, section)
    with atomic_dir(output / "plots") as plots:
        _write_csv(plots / "error_rates.csv", rates)
        _write_csv(plots / "counts.csv", _counts(scores))
        draw_error_rates(rates, plots / "b_wer.png")
        if by_size:
            _write_csv(plots / "recall_by_list_size.csv", by_size)
        if len(by_size) > 1:
            draw_recall(by_size, plots / "recall_by_list_size.png")
    _write_text(output / "table.md", markdown_table(metrics))
    _write_text(output / "report.html", render_report(metrics, scores, by_size))
    _write_text(output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    return metrics


def _metrics(scores: Scores, section: EvaluationSettings) -> dict[str, Any]:
    samples, seed = section.bootstrap_samples, section.seed
    sums = {context: resample(_columns(scored), samples, seed) for context, scored in scores.contexts.items()}
    metrics: dict[str, Any] = {context: measure(CONTEXT_FIGURES, of_context) for context, of_context in sums.items()}
    for context in sums.keys() - {"none"} if "none" in sums else ():
        metrics[context] |= measure_ratio("b_wer_vs_none", CONTEXT_FIGURES["b_wer"], sums[context], sums["none"])
    if scores.selections is not None:
        columns = keyword_columns(scores.selections)
        answers = scores.contexts["predicted"].results
        metrics["pruning"] = {
            **measure(SELECTION_FIGURES, resample(columns, samples, seed)),
            **{name: sum(columns[name]) for name in ("tp", "fp", "fn")},
            "listed_per_utterance": float(np.mean([len(keywords) for keywords in scores.listed])),
            "selected_per_utterance": float(np.mean([len(answer.predicted or ()) for answer in answers])),
        }
    rounded = {name: {key: _rounded(value) for key, value in group.items()} for name, group in metrics.items()}
    return {
        **rounded,
        "definition": section.definition,
        "normaliser": section.normaliser,
        "utterances": len(scores.said),
        "bootstrap_samples": samples,
        "seed": seed,
    }


def _rounded(value: float | int | None) -> float | int | None:
    """Six decimals: far below any interval, and the same on every machine."""
    return round(value, 6) if isinstance(value, float) else value


def _columns(scored: ContextScores) -> dict[str, list[int]]:
    return {**error_columns(scored.rates), **keyword_columns(scored.keywords)}


def _rates(figures: dict[str, float | None]) -> dict[str, float | None]:
    return {rate + bound: figures[rate + bound] for rate in RATES for bound in BOUNDS}


def _counts(scores: Scores) -> list[dict[str, Any]]:
    return [
        {
            "context": context,
            "rate": rate,
            **{kind: getattr(getattr(scored.rates, half), kind) for kind in ("words", *KINDS)},
        }
        for context, scored in scores.contexts.items()
        for rate, half in zip(RATES, HALVES, strict=True)
    ]


def _by_list_size(scores: Scores, section: EvaluationSettings, groups: int = 5) -> list[dict[str, Any]]:
    """Stage 1's precision and recall over utterances with lists of like size; no rows when stage 1 was not asked."""
    if scores.selections is None:
        return []
    sizes = np.array([len(keywords) for keywords in scores.listed])
    starts = np.unique(sizes)
    if len(starts) > groups + 1:
        starts = np.unique(np.quantile(sizes, np.arange(groups) / groups, method="lower"))
    group_of = np.searchsorted(starts, sizes, side="right") - 1
    rows = []
    for group in range(len(starts)):
        members = np.flatnonzero(group_of == group)
        low, high = sizes[members].min(), sizes[members].max()
        columns = keyword_columns([scores.selections[member] for member in members])
        figures = {name: SELECTION_FIGURES[name] for name in ("recall", "precision")}
        measured = measure(figures, resample(columns, section.bootstrap_samples, section.seed))
        rows.append({
            "list_size": str(low) if low == high else f"{low} to {high}",
            "utterances": len(members),
            "spoken": sum(columns["tp"]) + sum(columns["fn"]),
            **{name: _rounded(value) for name, value in measured.items()},
        })  # fmt: skip
    return rows


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
