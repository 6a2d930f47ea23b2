"""Report of scores for people: a Markdown table, and a self-contained HTML page with all utterances aligned.

The page is `report.html.j2` with the style of `sap2.pages`, `report.css` and `report.js` inlined. Figures, charts and
tables are plain HTML; the utterances are embedded as JSON, and the script renders those in view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sap2.evaluation.charts import Band, interval_chart, scatter_chart, stacked_chart, written
from sap2.evaluation.output import made_how
from sap2.evaluation.scores import Line, Measure, Row, Scores, System, Utterance, WordPair
from sap2.pages import filled, page_file

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["markdown_table", "render_report"]

# Figure -> its heading and number format.
FIGURES = {
    "wer": ("WER %", "{:.2f}"),
    "u_wer": ("U-WER %", "{:.2f}"),
    "b_wer": ("B-WER %", "{:.2f}"),
    "b_wer_vs_none": ("B-WER ÷ none", "{:.2f}"),
    "keyword_recall": ("keyword recall", "{:.3f}"),
    "keyword_precision": ("keyword precision", "{:.3f}"),
    "keyword_f1": ("keyword F1", "{:.3f}"),
    "false_alarms_per_100": ("false alarms / 100 utt.", "{:.1f}"),
    "phrase_recall": ("phrase recall", "{:.3f}"),
    "word_recall": ("word recall (SlideSpeech)", "{:.3f}"),
}
IN_MARKDOWN = (
    "wer", "u_wer", "b_wer", "b_wer_vs_none", "keyword_recall", "keyword_precision", "false_alarms_per_100",
)  # fmt: skip
CHARTED = ("b_wer", "u_wer", "wer", "keyword_recall", "false_alarms_per_100")
ERROR_RATES, KEYWORD_FIGURES = ("wer", "u_wer", "b_wer"), ("keyword_recall", "keyword_precision", "keyword_f1")
SELECTION_FIGURES = {"recall": "recall", "precision": "precision", "f1": "F1"}
# For each system the line of each utterance, in the form that the page's script reads.
Lines = list[list[dict[str, Any]]]
KIND_LETTERS = {"equal": "E", "substitution": "S", "insertion": "I", "deletion": "D"}
# Utterances with 0, 1, 2, 3 or 4, and 5 or more errors.
ERROR_STEPS = {"none": 0, "1": 1, "2": 2, "3 or 4": 4, "5 or more": 10**9}
MOST_CONFUSED, MOST_BANDS, MOST_SERIES = 25, 12, 6


def markdown_table(scores: Scores) -> str:
    """Format the headline table, stage 1's figures and how they were made as Markdown."""
    figures = [figure for figure in IN_MARKDOWN if _is_measured(scores, figure)]
    rows = [["context", *(FIGURES[figure][0] for figure in figures)], ["---", *["---:"] * len(figures)]]
    for system in scores.systems:
        cells = (_with_bounds(system.figures.get(figure), FIGURES[figure][1]) for figure in figures)
        rows.append([_in_cell(f"{system.name} ({system.caption})" if system.caption else system.name), *cells])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if scores.selection is not None:
        selection, counts = scores.selection, scores.selection.counts
        measured = ", ".join(
            f"{name} {_with_bounds(selection.figures.get(name), '{:.3f}')}" for name in ("precision", "recall", "f1")
        )
        kept, listed = selection.selected_per_utterance, selection.listed_per_utterance
        lines += [
            "",
            f"Stage 1 against the spoken keywords: {measured} (tp {counts.tp}, fp {counts.fp}, fn {counts.fn}; "
            f"{kept:.1f} of {listed:.1f} keywords kept per utterance).",
        ]
    if scores.trained_lists:
        lines += ["", _trained(scores)]
    return "\n".join([*lines, "", made_how(scores.settings, len(scores.utterances)), ""])


def render_report(scores: Scores) -> str:
    """Render the HTML report: a single file without external resources."""
    names = [system.name for system in scores.systems]
    # With several systems the first is the baseline.
    focus = names.index("predicted") if "predicted" in names else min(1, len(names) - 1)
    # Lines are computed on access, so access them once.
    lines = [[_line(line) for line in system.lines] for system in scores.systems]
    return filled(
        "sap2.evaluation",
        "report.html.j2",
        page_file("sap2.evaluation", "report.css"),
        page_file("sap2.evaluation", "report.js"),
        _data(scores, lines, focus),
        scores=scores,
        focus=focus,
        headline=_headline(scores),
        charts=_charts(scores, lines, focus),
        breakdown=_breakdown(scores, focus),
        trained=_trained(scores) if scores.trained_lists else "",
        selection_figures=_selection_figures(scores),
        confused=[(system, system.confused[:MOST_CONFUSED]) for system in scores.systems if system.confused],
        made_how=made_how(scores.settings, len(scores.utterances)),
    )


def _trained(scores: Scores) -> str:
    return f"The recogniser was trained on {scores.trained_lists} lists."


# ---- figures ---------------------------------------------------------------------------------------------------------


def _is_measured(scores: Scores, figure: str) -> bool:
    return any(figure in system.figures and system.figures[figure].value is not None for system in scores.systems)


def _bounds(measure: Measure | None, pattern: str) -> str:
    if measure is None or measure.value is None or measure.low is None or measure.high is None:
        return ""
    return f"[{pattern.format(measure.low)}, {pattern.format(measure.high)}]"


def _with_bounds(measure: Measure | None, pattern: str) -> str:
    return f"{written(measure, pattern)} {_bounds(measure, pattern)}".strip()


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")


@dataclass(frozen=True)
class Table:
    """A table's headings and rows; a row is a label, its note, and a (value, interval) per heading."""

    headings: list[str]
    rows: list[tuple[str, str, list[tuple[str, str]]]]


def _cells(figures: Sequence[str], measured: Any) -> list[tuple[str, str]]:
    return [
        (written(measured.get(figure), FIGURES[figure][1]), _bounds(measured.get(figure), FIGURES[figure][1]))
        for figure in figures
    ]


def _headline(scores: Scores) -> Table:
    figures = [
        figure
        for figure in FIGURES
        if _is_measured(scores, figure) and (figure != "word_recall" or scores.settings.definition == "slidespeech")
    ]
    return Table(
        [FIGURES[figure][0] for figure in figures],
        [(system.name, system.caption, _cells(figures, system.figures)) for system in scores.systems],
    )


def _selection_figures(scores: Scores) -> list[tuple[str, str, str]]:
    if scores.selection is None:
        return []
    measured = scores.selection.figures
    return [
        (name, written(measured.get(figure), "{:.3f}"), _bounds(measured.get(figure), "{:.3f}"))
        for figure, name in SELECTION_FIGURES.items()
    ]


# ---- charts and breakdown --------------------------------------------------------------------------------------------


def _charts(scores: Scores, lines: Lines, focus: int) -> "list[Markup]":
    """Draw the charts over all utterances: rates, B-WER against U-WER, kinds of errors, errors per utterance."""
    systems = scores.systems
    charts = []
    if len(systems) == 1:
        charts += [
            interval_chart(title, [_band(systems[0], figure) for figure in figures], pattern=FIGURES[figures[0]][1])
            for title, group in (("Error rates", ERROR_RATES), ("Keywords in the transcript", KEYWORD_FIGURES))
            if (figures := [figure for figure in group if _is_measured(scores, figure)])
        ]
    for figure in CHARTED:
        if len(systems) > 1 and _is_measured(scores, figure):
            bands = [Band(system.name, (system.figures.get(figure),)) for system in systems]
            charts.append(interval_chart(FIGURES[figure][0], bands, pattern=FIGURES[figure][1], focus=focus))
    if len(systems) > 1 and _is_measured(scores, "b_wer"):
        points = [(system.name, system.figures["u_wer"], system.figures["b_wer"]) for system in systems]
        charts.append(scatter_chart("List words against the other words", ("U-WER %", "B-WER %"), points, focus))
    kinds = [
        (system.name, [kind.rate.value or 0.0 for kind in system.error_types]) for system in systems if system.all.total
    ]
    if kinds:
        names = [kind.kind for kind in systems[0].error_types]
        charts.append(stacked_chart("Errors per 100 words, by kind", kinds, names))
    if len(scores.utterances) > 1:
        spread = [(system.name, _spread(of_system)) for system, of_system in zip(systems, lines, strict=True)]
        charts.append(stacked_chart("Utterances by number of errors", spread, list(ERROR_STEPS), "{:.0f}"))
    return charts


def _band(system: System, figure: str) -> Band:
    return Band(FIGURES[figure][0], (system.figures.get(figure),))


def _spread(lines: list[dict[str, Any]]) -> list[int]:
    """Count utterances by number of errors, in the steps of `ERROR_STEPS`."""
    counts = [0] * len(ERROR_STEPS)
    for line in lines:
        counts[next(step for step, most in enumerate(ERROR_STEPS.values()) if line["errors"] <= most)] += 1
    return counts


@dataclass(frozen=True)
class Breakdown:
    """The figures of a group's parts: a table, and a chart if there are not too many parts.

    Attributes:
        rows: For each part: label, number of utterances, and name and cells of each system.
    """

    group: str
    chart: str | None
    headings: list[str]
    rows: list[tuple[str, int, list[tuple[str, list[tuple[str, str]]]]]]


def _breakdown(scores: Scores, focus: int) -> list[Breakdown]:
    parts: dict[str, dict[str, dict[str, Row]]] = {}  # group -> label -> system's name -> row
    for system in scores.systems:
        for row in system.breakdown:
            parts.setdefault(row.group, {}).setdefault(row.label, {})[system.name] = row
    breakdowns = []
    for group, labels in parts.items():
        rows = [row for by_system in labels.values() for row in by_system.values()]
        figures = [figure for figure in FIGURES if any(_has(row, figure) for row in rows)]
        breakdowns.append(
            Breakdown(
                group,
                _breakdown_chart(group, labels, figures, [system.name for system in scores.systems], focus),
                [FIGURES[figure][0] for figure in figures],
                [
                    (
                        label,
                        next(iter(by_system.values())).utterances,
                        [(name, _cells(figures, row.figures)) for name, row in by_system.items()],
                    )
                    for label, by_system in labels.items()
                ],
            )
        )
    if scores.selection is not None and scores.selection.breakdown:
        for group, members in groupby(scores.selection.breakdown, key=lambda row: row.group):
            bands = [Band(member.label, (member.figures.get("recall"),)) for member in members]
            chart = interval_chart(f"Stage 1 recall by {group}", bands, pattern="{:.3f}")
            breakdowns.append(Breakdown(f"{group}, stage 1", chart, [], []))
    return breakdowns


def _has(row: Row, figure: str) -> bool:
    return figure in row.figures and row.figures[figure].value is not None


def _breakdown_chart(
    group: str, labels: dict[str, dict[str, Row]], figures: list[str], names: list[str], focus: int
) -> str | None:
    figure = next((figure for figure in ("b_wer", "keyword_recall", "wer") if figure in figures), None)
    if figure is None or not 1 < len(labels) <= MOST_BANDS:
        return None
    series = names if len(names) <= MOST_SERIES else [names[focus]]
    bands = [
        Band(label, tuple(rows[name].figures.get(figure) if name in rows else None for name in series))
        for label, rows in labels.items()
    ]
    heading, pattern = FIGURES[figure]
    return interval_chart(f"{heading} by {group}", bands, series, pattern)


# ---- utterances, as the page's script reads them ---------------------------------------------------------------------


def _data(scores: Scores, lines: Lines, focus: int) -> dict[str, Any]:
    selected = scores.selection.by_utterance if scores.selection is not None else None
    return {
        "systems": [system.name for system in scores.systems],
        "focus": focus,
        "stage1": selected is not None,
        "utterances": [
            {
                "id": utterance.id,
                "about": [value for value in (utterance.talk, utterance.speaker) if value],
                "seconds": utterance.duration,
                "listed": len(utterance.keywords),
                "said": list(utterance.said),
                "kept": list(utterance.predicted or ()),
                "dropped": _dropped(utterance),
                "pruned": [selected[index].fn, selected[index].fp] if selected is not None else [0, 0],
                "lines": [of_system[index] for of_system in lines],
            }
            for index, utterance in enumerate(scores.utterances)
        ],
    }


def _dropped(utterance: Utterance) -> list[str]:
    """Return the spoken keywords that stage 1 did not select."""
    if utterance.predicted is None:
        return []
    kept = {_compared(keyword) for keyword in utterance.predicted}
    return [keyword for keyword in utterance.said if _compared(keyword) not in kept]


def _compared(keyword: str) -> tuple[str, ...]:
    return tuple(keyword.casefold().split())


def _line(line: Line) -> dict[str, Any]:
    """Convert an aligned line for the script; `pieces` has runs of plain words as text, other columns as lists."""
    pieces: list[Any] = []
    for is_plain, pairs in groupby(line.pairs, key=_is_plain):
        if is_plain:
            pieces.append(" ".join(pair.hypothesis or "" for pair in pairs))
        else:
            pieces += [
                [KIND_LETTERS[pair.kind], pair.reference, pair.hypothesis, pair.said, pair.written] for pair in pairs
            ]
    return {
        "errors": line.errors,
        "biased": line.biased_errors,
        "missed": list(line.missed),
        "false": list(line.false_alarms),
        "absent": line.absent,
        "pieces": pieces,
    }


def _is_plain(pair: WordPair) -> bool:
    return pair.kind == "equal" and not pair.said and not pair.written and pair.reference == pair.hypothesis
