"""The figures the evaluation prints, and the counts by utterance they are made of."""

from collections.abc import Sequence

from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.rates import Rates
from sap2.evaluation.significance import Figure

__all__ = ["CONTEXT_FIGURES", "SELECTION_FIGURES", "error_columns", "keyword_columns"]

HALVES = ("all", "unbiased", "biased")
KINDS = ("substitutions", "insertions", "deletions")


def _error_rate(half: str) -> Figure:
    return Figure(tuple(f"{half}_{kind}" for kind in KINDS), (f"{half}_words",), 100)


# From 0 to 1, micro-averaged.
SELECTION_FIGURES = {
    "precision": Figure(("tp",), ("tp", "fp")),
    "recall": Figure(("tp",), ("tp", "fn")),
    "f1": Figure(("tp", "tp"), ("tp", "tp", "fp", "fn")),
}
# Error rates in per cent of reference words; the keyword figures of a transcript count occurrences of list words in it.
CONTEXT_FIGURES = {
    "wer": _error_rate("all"),
    "u_wer": _error_rate("unbiased"),
    "b_wer": _error_rate("biased"),
    "keyword_precision": SELECTION_FIGURES["precision"],
    "keyword_recall": SELECTION_FIGURES["recall"],
    "false_alarms_per_100": Figure(("fp",), ("utterances",), 100),
}


def error_columns(rates: Rates) -> dict[str, list[int]]:
    """Errors by utterance, in columns such as `biased_words` and `all_deletions`."""
    columns: dict[str, list[int]] = {}
    for half in HALVES:
        errors = [getattr(utterance, half) for utterance in rates.utterances]
        columns |= {f"{half}_{kind}": [getattr(error, kind) for error in errors] for kind in ("words", *KINDS)}
    return columns


def keyword_columns(counts: Sequence[KeywordCounts]) -> dict[str, list[int]]:
    """Keyword counts by utterance, and the utterances themselves, in columns."""
    columns = {name: [getattr(count, name) for count in counts] for name in ("tp", "fp", "fn")}
    return {**columns, "utterances": [1] * len(counts)}
