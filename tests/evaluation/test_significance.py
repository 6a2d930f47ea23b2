"""Bootstrap intervals: seeded, paired, and honest where there is nothing to divide by."""

import numpy as np
import pytest

from sap2.evaluation.figures import CONTEXT_FIGURES, SELECTION_FIGURES, error_columns, keyword_columns
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.rates import score
from sap2.evaluation.significance import Figure, measure, measure_ratio, resample

rate = Figure(("errors",), ("words",), 100)


def columns(utterances=400, probability=0.2, seed=3):
    return {
        "errors": np.random.default_rng(seed).binomial(10, probability, utterances).tolist(),
        "words": [10] * utterances,
    }


def test_the_value_is_that_of_the_utterances_themselves():
    data = columns()
    measured = measure({"rate": rate}, resample(data, 10, seed=1))
    assert measured["rate"] == 100 * sum(data["errors"]) / sum(data["words"])


def test_the_interval_is_as_wide_as_theory_says():
    # A mean of 400 binomial(10, 0.2) shares: standard error sqrt(0.16 / 4000) = 0.632 %.
    measured = measure({"rate": rate}, resample(columns(), 2000, seed=1))
    assert measured["rate_high"] - measured["rate_low"] == pytest.approx(2 * 1.96 * 0.632, rel=0.15)
    assert measured["rate_low"] < measured["rate"] < measured["rate_high"]


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    first, again, other = (measure({"rate": rate}, resample(columns(), 200, seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_ratios_use_the_same_draws_for_both_systems():
    base = columns()
    half = {"errors": [count / 2 for count in base["errors"]], "words": base["words"]}
    measured = measure_ratio("ratio", rate, resample(half, 100, 1), resample(base, 100, 1))
    assert measured == {"ratio": 0.5, "ratio_low": 0.5, "ratio_high": 0.5}


def test_a_figure_with_nothing_to_divide_by_is_none():
    measured = measure({"rate": rate}, resample({"errors": [0, 0], "words": [0, 0]}, 20, 1))
    assert measured == {"rate": None, "rate_low": None, "rate_high": None}


def test_draws_without_anything_to_divide_by_are_left_out():
    measured = measure({"rate": rate}, resample({"errors": [1, 0, 0], "words": [2, 0, 0]}, 200, 1))
    assert measured == {"rate": 50.0, "rate_low": 50.0, "rate_high": 50.0}


def test_no_samples_mean_no_interval():
    measured = measure({"rate": rate}, resample({"errors": [1], "words": [4]}, 0, 1))
    assert measured == {"rate": 25.0, "rate_low": None, "rate_high": None}


def test_figures_agree_with_the_scores_they_bound():
    counts = [KeywordCounts(2, 1, 0), KeywordCounts(1, 1, 3)]
    total = sum(counts, KeywordCounts())
    selection = measure(SELECTION_FIGURES, resample(keyword_columns(counts), 5, 1))
    assert [selection[name] for name in ("precision", "recall", "f1")] == [total.precision, total.recall, total.f1]
    rates = score({"a": "x y z", "b": "x k"}, {"a": "x z", "b": "k k k"}, {"a": {"y"}, "b": {"k"}})
    figures = measure(CONTEXT_FIGURES, resample({**error_columns(rates), **keyword_columns(counts)}, 5, 1))
    assert [figures[name] for name in ("wer", "u_wer", "b_wer")] == [
        half.rate for half in (rates.all, rates.unbiased, rates.biased)
    ]
    assert figures["false_alarms_per_100"] == 100.0
