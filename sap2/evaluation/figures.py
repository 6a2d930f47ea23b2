"""Definitions of the evaluation's figures, and the names of the counts per utterance behind them."""

from sap2.evaluation.significance import Figure

__all__ = [
    "COUNTS",
    "FIGURES",
    "HALVES",
    "KEYWORDS",
    "KINDS",
    "KIND_FIGURES",
    "ROW_FIGURES",
    "SELECTION_FIGURES",
]

HALVES = {"all": "wer", "unbiased": "u_wer", "biased": "b_wer"}
KINDS = ("substitutions", "insertions", "deletions")
COUNTS = ("tp", "fp", "fn")


def keyword_figures(columns: str, prefix: str) -> dict[str, Figure]:
    """Precision, recall and F1 from 0 to 1, micro-averaged over the counts in `columns`_tp, _fp and _fn."""
    tp, fp, fn = (f"{columns}_{count}" for count in COUNTS)
    return {
        f"{prefix}precision": Figure((tp,), (tp, fp)),
        f"{prefix}recall": Figure((tp,), (tp, fn)),
        f"{prefix}f1": Figure((tp, tp), (tp, tp, fp, fn)),
    }


# Error rates in percent of reference words.
ERROR_RATES = {name: Figure((f"{half}_errors",), (f"{half}_words",), 100) for half, name in HALVES.items()}
KIND_FIGURES = {kind: Figure((f"all_{kind}",), ("all_words",), 100) for kind in KINDS}
# Keyword figures of a transcript count occurrences of list entries in it.
FALSE_ALARMS = {"false_alarms_per_100": Figure(("keyword_fp",), ("utterances",), 100)}
KEYWORDS = keyword_figures("keyword", "keyword_")
FIGURES = {
    **ERROR_RATES,
    **KEYWORDS,
    **FALSE_ALARMS,
    **keyword_figures("phrase", "phrase_"),
    "word_recall": Figure(("word_tp",), ("word_tp", "word_fn")),
}
ROW_FIGURES = {**ERROR_RATES, **KEYWORDS, **FALSE_ALARMS}
# Stage 1's figures count each list entry once per utterance.
SELECTION_FIGURES = {**keyword_figures("keyword", ""), **FALSE_ALARMS}
