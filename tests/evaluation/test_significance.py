"""Bootstrap intervals: seeded, paired, and undefined where the divisor is 0."""

import numpy as np
import pytest

from sap2.evaluation import score
from sap2.evaluation.figures import COUNTS, FIGURES, SELECTION_FIGURES
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.scores import Measure
from sap2.evaluation.significance import Figure, bounds, measure, paired_p, resample, swapped

rate = Figure(("errors",), ("words",), 100)


def columns(utterances=400, probability=0.2, seed=3):
    return {
        "errors": np.random.default_rng(seed).binomial(10, probability, utterances).tolist(),
        "words": [10] * utterances,
    }


def test_the_value_is_that_of_the_utterances_themselves():
    data = columns()
    measured = measure(rate, resample(data, 10, seed=1))
    assert measured.value == 100 * sum(data["errors"]) / sum(data["words"])


def test_the_interval_is_as_wide_as_theory_says():
    # A mean of 400 binomial(10, 0.2) shares: standard error sqrt(0.16 / 4000) = 0.632 %.
    measured = measure(rate, resample(columns(), 2000, seed=1))
    assert measured.high - measured.low == pytest.approx(2 * 1.96 * 0.632, rel=0.15)
    assert measured.low < measured.value < measured.high


def test_bounds_are_the_quantiles_numpy_has():
    values = np.random.default_rng(1).normal(size=1001)
    assert (bounds(values).low, bounds(values).high) == pytest.approx(np.quantile(values[1:], [0.025, 0.975]).tolist())


def test_intervals_depend_only_on_the_seed():
    first, again, other = (measure(rate, resample(columns(), 200, seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_draws_do_not_depend_on_blocks(monkeypatch):
    whole = resample(columns(), 50, 1)
    monkeypatch.setattr("sap2.evaluation.significance.CELLS", 7 * 400)
    parts = resample(columns(), 50, 1)
    assert all((whole[name] == parts[name]).all() for name in whole)


def test_large_counts_are_summed_exactly():
    sums = resample({"words": np.array([1 << 24, 1, 1])}, 0, 1)
    assert sums["words"][0] == (1 << 24) + 2


def test_both_systems_meet_the_same_draws():
    base = columns()
    half = {"errors": [count / 2 for count in base["errors"]], "words": base["words"]}
    ratio = rate.of(resample(half, 100, 1)) / rate.of(resample(base, 100, 1))
    assert bounds(ratio) == Measure(0.5, 0.5, 0.5)


def test_a_figure_with_nothing_to_divide_by_is_none():
    assert measure(rate, resample({"errors": [0, 0], "words": [0, 0]}, 20, 1)) == Measure(None, None, None)


def test_draws_without_anything_to_divide_by_are_left_out():
    assert measure(rate, resample({"errors": [1, 0, 0], "words": [2, 0, 0]}, 200, 1)) == Measure(50.0, 50.0, 50.0)


def test_no_samples_mean_no_interval():
    assert measure(rate, resample({"errors": [1], "words": [4]}, 0, 1)) == Measure(25.0, None, None)


def p_of(a, b, samples=1000):
    first, second = swapped(a, b, samples, 1)
    return paired_p(rate.of(second) - rate.of(first))


def test_p_is_1_for_equal_systems_and_minimal_for_distant_ones():
    assert p_of(columns(), columns()) == 1.0
    assert p_of(columns(probability=0.2), columns(probability=0.4, seed=4)) == pytest.approx(1 / 1001)


def test_p_is_even_when_there_is_no_difference():
    values = [p_of(columns(60, seed=seed), columns(60, seed=1000 + seed), 200) for seed in range(200)]
    assert np.mean(np.array(values) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)


def test_shuffles_exchange_whole_units_and_lose_nothing():
    a, b = {"errors": [1, 2], "words": [10, 20]}, {"errors": [4, 8], "words": [10, 20]}
    first, second = swapped(a, b, 50, 1)
    assert set(first["errors"].tolist()) == {3, 6, 9, 12}
    assert (first["errors"] + second["errors"] == 15).all() and (first["words"] == 30).all()


def test_without_shuffles_or_values_there_is_no_p():
    assert p_of(columns(), columns(), 0) is None
    assert paired_p(np.array([np.nan, 1.0])) is None


def test_figures_agree_with_the_scores_they_bound():
    counts = [(2, 1, 0), (1, 1, 3)]
    total = KeywordCounts(3, 2, 3)
    columns = {
        f"keyword_{name}": np.array(count) for name, count in zip(COUNTS, zip(*counts, strict=True), strict=True)
    }
    columns["utterances"] = np.ones(2)
    drawn = resample(columns, 5, 1)
    shown = [measure(SELECTION_FIGURES[name], drawn).value for name in ("precision", "recall", "f1")]
    assert shown == [total.precision, total.recall, total.f1]
    assert measure(FIGURES["false_alarms_per_100"], drawn).value == 100.0
    biasing = {"a": ["y"], "b": ["k"]}
    rates = score({"a": "x y z", "b": "x k"}, {"a": "x z", "b": "k k k"}, biasing=biasing, samples=0).systems[0]
    drawn = resample(rates.columns, 5, 1)
    assert [measure(FIGURES[name], drawn).value for name in ("wer", "u_wer", "b_wer")] == [
        half.rate for half in (rates.all, rates.unbiased, rates.biased)
    ]
