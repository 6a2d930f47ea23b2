"""The threshold tuned on dev: its curve is exact, and no lower threshold meets the limit."""

import doctest
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.inference import threshold as module
from sap2.inference.threshold import above, choose, curve

WORDS = ["maier", "jon", "zorvan", "kathryn"]
SCORED = st.lists(st.dictionaries(st.sampled_from(WORDS), st.floats(-20, 0), max_size=4), min_size=1, max_size=8)


def test_examples_in_docstrings_run():
    assert doctest.testmod(module).failed == 0


def figures(scored, said, threshold):
    kept = [set(above(scores, threshold)) for scores in scored]
    right = sum(len(words & set(others)) for words, others in zip(kept, said, strict=True))
    left, spoken = sum(map(len, kept)), sum(map(len, said))
    return {
        "recall": round(right / spoken, 4) if spoken else None,
        "precision": round(right / left, 4) if left else None,
        "false_alarms_per_100": round(100 * (left - right) / len(said), 4),
    }


@given(SCORED, st.data())
def test_a_row_is_what_its_threshold_leaves(scored, data):
    said = [data.draw(st.lists(st.sampled_from(WORDS), unique=True)) for _ in scored]
    rows = curve(scored, said)
    assert rows[-1]["threshold"] == 0.0 and all(a["threshold"] < b["threshold"] for a, b in pairwise(rows))
    for row in rows:
        assert figures(scored, said, row["threshold"]) == {k: v for k, v in row.items() if k != "threshold"}
    assert figures(scored, said, None) == {k: v for k, v in rows[0].items() if k != "threshold"}


@given(SCORED, st.floats(0, 200), st.data())
def test_choose_returns_the_lowest_threshold_within_the_limit(scored, limit, data):
    said = [data.draw(st.lists(st.sampled_from(WORDS), unique=True)) for _ in scored]
    rows = curve(scored, said)
    chosen = choose(rows, limit)
    if figures(scored, said, chosen)["false_alarms_per_100"] > limit:
        assert chosen == 0.0, "even what is certain is too much: the strictest"
    for row in rows:
        if chosen is None or row["threshold"] < chosen:
            assert chosen is None or row["false_alarms_per_100"] > limit


def test_a_long_curve_is_thinned_but_keeps_both_ends():
    rows = curve([{f"word{number}": -number / 1000} for number in range(5000)], [[] for _ in range(5000)])
    assert len(rows) <= module.POINTS + 1 and (rows[0]["threshold"], rows[-1]["threshold"]) == (-4.999, 0.0)
    assert rows[0]["recall"] is None and rows[0]["false_alarms_per_100"] == 100.0


@pytest.mark.parametrize("nothing", [[{}], [{}, {}]])
def test_an_empty_selection_has_a_curve_of_a_single_row(nothing):
    assert curve(nothing, [["jon"]] * len(nothing)) == [
        {"threshold": 0.0, "recall": 0.0, "precision": None, "false_alarms_per_100": 0.0}
    ]
