"""The figures the evaluation prints, and the counts by utterance they are made of."""

import numpy as np

from sap2.evaluation.significance import Figure

__all__ = [
    "FIGURES",
    "HALVES",
    "KEYWORDS",
    "KINDS",
    "KIND_FIGURES",
    "ROW_FIGURES",
    "SELECTION_FIGURES",
    "error_columns",
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


# Error rates in per cent of reference words.
ERROR_RATES = {name: Figure((f"{half}_errors",), (f"{half}_words",), 100) for half, name in HALVES.items()}
KIND_FIGURES = {kind: Figure((kind,), ("all_words",), 100) for kind in KINDS}
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
# Stage 1 counts each list entry once an utterance.
SELECTION_FIGURES = {**keyword_figures("keyword", ""), **FALSE_ALARMS}


def error_columns(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Words and errors by utterance, from `rates.count_all`."""
    unbiased, biased = counts[:, :4], counts[:, 4:]
    columns = {}
    for half, part in zip(HALVES, (unbiased + biased, unbiased, biased), strict=True):
        columns |= {f"{half}_words": part[:, 0], f"{half}_errors": part[:, 1:].sum(axis=1)}
    whole = unbiased + biased
    return {**columns, **{kind: whole[:, place] for place, kind in enumerate(KINDS, start=1)}}


def count_columns(name: str, counts: list[tuple[int, int, int]]) -> dict[str, np.ndarray]:
    """Keyword counts by utterance in three columns."""
    table = np.array(counts, dtype=np.int64).reshape(-1, 3)
    return {f"{name}_{count}": table[:, place] for place, count in enumerate(COUNTS)}
