"""Rules of the gate that decides whether a version may become the champion; independent of MLflow.

A challenger must have a significantly lower B-WER than the champion, without raising WER, U-WER, false alarms or
computing time beyond their margins. Without a champion, absolute limits replace the comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sap2.errors import InputError
from sap2.evaluation import Comparison, System, compare, score_files
from sap2.files import read_jsonl
from sap2.params import EvaluationSection, GateSection

__all__ = ["Rule", "judge", "table"]


NO_SPEED = 'unknown: the version was registered without timing.json; run "sap2 decode" and "sap2 register" again'


@dataclass(frozen=True)
class Rule:
    """A rule, the figure it was checked with, and whether it holds."""

    rule: str
    figure: str
    holds: bool


def judge(
    gate: GateSection,
    evaluation: EvaluationSection,
    challenger: Path,
    champion: Path | None = None,
    real_time_factor: float | None = None,
) -> list[Rule]:
    """Judge a challenger's results against the champion's, on the same utterances.

    Args:
        evaluation: Settings of the scoring and of the paired test.
        challenger, champion: Results files of `sap2 decode`; without champion the limits of a first version apply.
        real_time_factor: Computing time per time of speech of the challenger; None = unknown, which breaks the rule, as
            the
            version may be too slow to serve.
    Raises: InputError: a file has no results.
    """
    paths = [challenger] if champion is None else [champion, challenger]
    fault = None if champion is None else _difference(champion, challenger)
    scores = score_files(
        paths[-1:] if fault else paths,
        definition=evaluation.definition,
        normaliser=evaluation.normaliser,
        samples=evaluation.bootstrap_samples,
        seed=evaluation.seed,
    )
    own = scores.systems[-1]
    if champion is None:
        rules = [
            _at_most("B-WER %", _value(own, "b_wer"), gate.first_max_b_wer),
            _at_most("WER %", _value(own, "wer"), gate.first_max_wer),
        ]
    elif fault:
        rules = [Rule("same test set as the champion", fault, False)]
    else:
        rules = _compared(gate, compare(scores, 0, 1))
    return [
        *rules,
        _at_most("false alarms / 100 utterances", _value(own, "false_alarms_per_100"), gate.max_false_alarms),
        _at_most("real-time factor", real_time_factor, gate.max_real_time_factor, NO_SPEED),
    ]


def table(rules: Sequence[Rule]) -> str:
    """Format rules as a Markdown table that is also readable in a terminal.

    >>> print(table([Rule("WER % at most 20", "5.00", True), Rule("B-WER % at most 50", "80.10", False)]))
    | rule               | figure | verdict |
    | ------------------ | ------ | ------- |
    | WER % at most 20   | 5.00   | holds   |
    | B-WER % at most 50 | 80.10  | broken  |
    """
    rows = [("rule", "figure", "verdict"), *((r.rule, r.figure, "holds" if r.holds else "broken") for r in rules)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])


def _compared(gate: GateSection, comparison: Comparison) -> list[Rule]:
    b_wer = comparison.figures.get("b_wer")
    better = f"B-WER % below the champion's, p at most {gate.significance:g}"
    if b_wer is None or b_wer.difference.value is None:
        rules = [Rule(better, "no list word was spoken in the test set", False)]
    else:
        p = "no p: evaluation.bootstrap_samples is 0" if b_wer.p is None else f"p = {b_wer.p:.3g}"
        holds = b_wer.difference.value < 0 and b_wer.p is not None and b_wer.p <= gate.significance
        rules = [Rule(better, f"{_change_of(comparison, 'b_wer')}, {p}", holds)]
    for figure, name, margin in (("wer", "WER %", gate.wer_margin), ("u_wer", "U-WER %", gate.u_wer_margin)):
        known = comparison.figures.get(figure)
        change = None if known is None else known.difference.value
        # Tolerance for binary rounding: a rise of exactly the margin must not fail by its last digit.
        holds = change is None or change <= margin + 1e-9
        rules.append(Rule(f"{name} at most {margin:g} above the champion's", _change_of(comparison, figure), holds))
    return rules


def _change_of(comparison: Comparison, figure: str) -> str:
    """`25.19 → 21.40 (-3.79 [-6.02, -1.55])`"""
    difference = comparison.figures.get(figure)
    if difference is None or difference.difference.value is None:
        return "undefined"
    change = difference.difference
    interval = "" if change.low is None else f" [{change.low:+.2f}, {change.high:+.2f}]"
    return f"{difference.a:.2f} → {difference.b:.2f} ({change.value:+.2f}{interval})"


def _at_most(name: str, value: float | None, limit: float, unknown: str = "unknown") -> Rule:
    rule = f"{name} at most {limit:g}"
    return Rule(rule, unknown, False) if value is None else Rule(rule, f"{value:.2f}", value <= limit)


def _value(system: System, figure: str) -> float | None:
    return system.figures[figure].value


def _difference(champion: Path, challenger: Path) -> str | None:
    """Describe how two test sets differ; None if ids, references and lists are equal."""
    old, new = _test_set(champion), _test_set(challenger)
    if old.keys() != new.keys():
        return f"{len(new)} utterances, {len(new.keys() - old.keys())} of them not among the champion's {len(old)}"
    others = [id for id, content in new.items() if old[id] != content]
    return f"{len(others)} of {len(new)} utterances with other texts or lists, first {others[0]}" if others else None


def _test_set(path: Path) -> dict[str, tuple]:
    try:
        return {row["id"]: (row["reference"], row["keywords"]) for _, row in read_jsonl(path)}
    except KeyError as error:
        raise InputError(f'{path}: a line has no {error}, expected results of "sap2 decode"') from error
