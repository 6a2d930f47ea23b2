"""Scores for people: a Markdown table, and one self-contained HTML page with every utterance aligned."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sap2.evaluation.alignment import Alignment, Edit, definition_of
from sap2.evaluation.keywords import KeywordCounts, Occurrences, distinct
from sap2.evaluation.normalise import NORMALISERS
from sap2.evaluation.results import CONTEXTS
from sap2.evaluation.scores import ContextScores, Scores

__all__ = ["Segment", "markdown_table", "render_report", "segments"]

Metrics = dict[str, Any]
# Figure, its heading, and how a value is written.
HEADLINE = (
    ("wer", "WER %", "{:.2f}"),
    ("u_wer", "U-WER %", "{:.2f}"),
    ("b_wer", "B-WER %", "{:.2f}"),
    ("b_wer_vs_none", "B-WER ÷ none", "{:.2f}"),
    ("keyword_recall", "keyword recall", "{:.3f}"),
    ("keyword_precision", "keyword precision", "{:.3f}"),
    ("false_alarms_per_100", "false alarms / 100 utt.", "{:.1f}"),
)
NOTHING = "–"


def markdown_table(metrics: Metrics) -> str:
    """The headline table, stage 1's figures and how they were made, from what `metrics.json` holds."""
    rows = [["context", *(heading for _, heading, _ in HEADLINE)], ["---", *["---:"] * len(HEADLINE)]]
    for context in _contexts(metrics):
        cells = (_with_bounds(metrics[context], figure, pattern) for figure, _, pattern in HEADLINE)
        rows.append([f"{context} ({CONTEXTS[context]})", *cells])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if "pruning" in metrics:
        pruning = metrics["pruning"]
        figures = ", ".join(f"{name} {_with_bounds(pruning, name, '{:.3f}')}" for name in ("precision", "recall", "f1"))
        counts = f"tp {pruning['tp']}, fp {pruning['fp']}, fn {pruning['fn']}"
        kept, listed = pruning["selected_per_utterance"], pruning["listed_per_utterance"]
        sizes = f"{kept:.1f} of {listed:.1f} keywords kept an utterance"
        lines += ["", f"Stage 1 against the spoken keywords: {figures} ({counts}; {sizes})."]
    return "\n".join([*lines, "", _made_how(metrics), ""])


def render_report(metrics: Metrics, scores: Scores, by_list_size: list[dict[str, Any]]) -> str:
    """The HTML report: one file that needs no other.

    Args:
        metrics: What `metrics.json` holds.
        by_list_size: Rows of stage 1's recall by size of list; drawn when there are several.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only a report needs it

    environment = Environment(
        loader=PackageLoader("sap2.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    contexts = list(_contexts(metrics))
    rates = [(figure, heading) for figure, heading, _ in HEADLINE[:3]]
    charts = [
        _chart(heading, [(context, metrics[context]) for context in contexts], figure)
        for figure, heading in reversed(rates)
    ]
    if len(by_list_size) > 1:
        charts.append(
            _chart("Stage 1 recall by list size", [(row["list_size"], row) for row in by_list_size], "recall")
        )
    return environment.get_template("report.html.j2").render(
        headings=[heading for _, heading, _ in HEADLINE],
        table=[(context, CONTEXTS[context], _cells(metrics[context])) for context in contexts],
        pruning=metrics.get("pruning"),
        pruning_figures=_pruning_figures(metrics),
        contexts=[(context, CONTEXTS[context]) for context in contexts],
        focus="predicted" if "predicted" in contexts else contexts[0],
        charts=charts,
        made_how=_made_how(metrics),
        utterances=_utterances(scores),
        count=metrics["utterances"],
    )


# ---- figures ---------------------------------------------------------------------------------------------------------


def _contexts(metrics: Metrics) -> Iterator[str]:
    return (context for context in CONTEXTS if context in metrics)


def _value(figures: Metrics, name: str, pattern: str) -> str:
    value = figures.get(name)
    return NOTHING if value is None else pattern.format(value)


def _bounds(figures: Metrics, name: str, pattern: str) -> str:
    if figures.get(name) is None or figures.get(f"{name}_low") is None:
        return ""
    return f"[{pattern.format(figures[f'{name}_low'])}, {pattern.format(figures[f'{name}_high'])}]"


def _with_bounds(figures: Metrics, name: str, pattern: str) -> str:
    return f"{_value(figures, name, pattern)} {_bounds(figures, name, pattern)}".strip()


def _cells(figures: Metrics) -> list[tuple[str, str]]:
    return [(_value(figures, name, pattern), _bounds(figures, name, pattern)) for name, _, pattern in HEADLINE]


def _pruning_figures(metrics: Metrics) -> list[tuple[str, str, str]]:
    pruning = metrics.get("pruning", {})
    return [
        (name, _value(pruning, key, "{:.3f}"), _bounds(pruning, key, "{:.3f}"))
        for key, name in (("recall", "recall"), ("precision", "precision"), ("f1", "F1"))
    ]


def _made_how(metrics: Metrics) -> str:
    definition = definition_of(metrics["definition"])
    samples, seed = metrics["bootstrap_samples"], metrics["seed"]
    intervals = (
        f"95 % intervals: bootstrap over utterances, {samples} samples, seed {seed}" if samples else "no intervals"
    )
    return (
        f"{metrics['utterances']} utterances; definition: {definition.name} ({definition.source}); "
        f"normaliser: {metrics['normaliser']} ({NORMALISERS[metrics['normaliser']]}); {intervals}."
    )


@dataclass(frozen=True)
class Bar:
    """One bar of a chart; lengths in per cent of the chart's width, None where there is nothing to draw."""

    label: str
    text: str
    length: float | None
    low: float | None
    high: float | None


def _chart(title: str, rows: list[tuple[str, Metrics]], figure: str) -> dict[str, Any]:
    ends = [row[name] for _, row in rows for name in (figure, f"{figure}_high") if row[name] is not None]
    widest = max(ends, default=0) or 1

    def length(row: Metrics, name: str) -> float | None:
        return None if row[name] is None else round(100 * row[name] / widest, 2)

    bars = [
        Bar(label, _value(row, figure, "{:.3g}"), *(length(row, figure + bound) for bound in ("", "_low", "_high")))
        for label, row in rows
    ]
    return {"title": title, "bars": bars}


# ---- utterances ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segment:
    """A piece of an aligned line: a run of plain words, or one word that is marked or wrong.

    Attributes:
        kind: "equal", "substitution", "insertion" or "deletion".
        spoken, written: Text of the reference and of the hypothesis; None where the edit has no such side.
        spoken_mark: "found" or "missed" when the spoken word belongs to a listed keyword, else "".
        written_mark: "false" when the written word belongs to a listed keyword that was not said (so often), else "".
    """

    kind: str
    spoken: str | None
    written: str | None
    spoken_mark: str = ""
    written_mark: str = ""

    @property
    def is_plain(self) -> bool:
        return self.kind == "equal" and not self.spoken_mark and not self.written_mark


def segments(alignment: Alignment, said: Occurrences, written: Occurrences) -> list[Segment]:
    """An alignment with its keywords marked, plain words in a row joined."""
    said_at = said.covered(said.places)
    false_at = written.covered(keyword for keyword in written.places if written.count(keyword) > said.count(keyword))
    found: list[Segment] = []
    spoken_position = written_position = 0
    for kind, spoken_word, written_word in alignment:
        is_said = spoken_word is not None and spoken_position in said_at
        is_false = written_word is not None and written_position in false_at and not (kind == "equal" and is_said)
        spoken_mark = "" if not is_said else "found" if kind == "equal" else "missed"
        segment = Segment(kind, spoken_word, written_word, spoken_mark, "false" if is_false else "")
        if segment.is_plain and found and found[-1].is_plain:
            segment = Segment("equal", f"{found[-1].spoken} {spoken_word}", f"{found[-1].written} {written_word}")
            found.pop()
        found.append(segment)
        spoken_position += spoken_word is not None
        written_position += written_word is not None
    return found


def _utterances(scores: Scores) -> Iterator[dict[str, Any]]:
    """What the template shows of each utterance."""
    details = next(iter(scores.contexts.values())).results
    answers = scores.contexts["predicted"].results if "predicted" in scores.contexts else None
    for position, result in enumerate(details):
        said, listed = scores.said[position], scores.listed[position]
        picked = distinct((answers[position].predicted or ()) if answers else ())
        selection = scores.selections[position] if scores.selections else KeywordCounts()
        lines = [_line(context, scored, said, position) for context, scored in scores.contexts.items()]
        yield {
            "id": result.id,
            "about": [value for value in (result.talk, result.speaker) if value],
            "duration": result.duration,
            "reference": segments(_as_it_is(result.reference), said, said),
            "lines": lines,
            "keywords": [(spelling, keyword in said.places, keyword in picked) for keyword, spelling in listed.items()],
            "said": len(said.places),
            "picked": len(picked),
            "asked": answers is not None,
            # Read by the page's script: each line's numbers by context, then stage 1's.
            "numbers": {
                line["context"]: [line["errors"], line["biased"], line["missed"], line["false"]] for line in lines
            },
            "pruned": [selection.fn, selection.fp],
        }


def _line(context: str, scored: ContextScores, said: Occurrences, position: int) -> dict[str, Any]:
    utterance = scored.rates.utterances[position]
    pieces = segments(utterance.alignment, said, scored.written[position])
    return {
        "context": context,
        "segments": pieces,
        "errors": utterance.all.total,
        "biased": utterance.biased.total,
        "missed": sum(piece.spoken_mark == "missed" for piece in pieces),
        "false": sum(piece.written_mark == "false" for piece in pieces),
    }


def _as_it_is(text: str) -> Alignment:
    return tuple(Edit("equal", word, word) for word in text.split())
