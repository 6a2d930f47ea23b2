"""Rescoring: similar words are replaced by keywords."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sap2.inference.rescoring as module
from sap2.inference.places import Replacement
from sap2.inference.rescoring import replaced, replacements

words = st.text("abcdeiou", min_size=1, max_size=6)


def test_examples_in_docstrings_run():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("text", "keywords", "expected"),
    [
        ("ask cathrin mayer", ["Kathryn", "Zorvan"], {"ask Kathryn mayer", "Kathryn mayer", "ask Kathryn"}),
        ("prefix to ning works", ["prefix tuning"], {"prefix tuning works"}),
        ("ask maier", ["Maier", "Meier"], set()),  # it stands there already
        ("ask maier about mayor", ["Maier"], set()),  # it is written once
        ("", ["Maier"], set()),
        ("ask maier", [], set()),
    ],
)
def test_keywords_are_tried_where_something_is_like_them(text, keywords, expected):
    tried = {" ".join(candidate.within(text.split())) for candidate in replacements(text, keywords)}
    assert tried >= expected and bool(tried) == bool(expected)


def test_what_is_written_right_is_not_replaced():
    tried = replacements("ask maier about meyr", ["Maier", "Meyer"])
    assert tried and all(candidate.start in (2, 3) for candidate in tried)


@given(st.lists(words, max_size=6), st.lists(words, max_size=4, unique=True), st.data())
def test_the_best_replacements_apply_without_overlap(heard, keywords, data):
    text = " ".join(heard)
    tried = replacements(text, keywords)
    gains = data.draw(st.lists(st.floats(-5, 5), min_size=len(tried), max_size=len(tried)))
    written = replaced(text, tried, gains)
    if max(gains, default=0) <= 0:
        assert written == text
    else:
        best = tried[gains.index(max(gains))]
        assert best.keyword in written.split()
    assert len(written.split()) <= len(heard)


def test_several_stretches_of_a_transcript_are_replaced():
    tried = [
        Replacement(0, 1, "Maier"),
        Replacement(2, 4, "Zorvan"),
        Replacement(3, 4, "Dorst"),
        Replacement(1, 2, "q"),
    ]
    assert replaced("mayer and sor wan spoke", tried, [0.5, 2.0, 1.0, -1.0]) == "Maier and Zorvan spoke"
    assert replaced("mayer  and", tried[:1], [-0.1]) == "mayer  and", "a text that stays is not touched"
