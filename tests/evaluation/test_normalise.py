"""What the normalisers change, and what they leave alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.errors import ParamsError
from sap2.evaluation.normalise import NORMALISERS, normalise


def test_none_changes_nothing():
    assert normalise("  Well, O'Neil — ", "none") == "  Well, O'Neil — "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("don't 'quote' the students'", "don't quote the students"),
        ("O\u2019Neil", "o'neil"),
        ("well-known (twice)", "well known twice"),
        ("snake_case and C++ cost $5", "snake case and c++ cost $5"),
        ("Ünïted ÉCOLE", "ünïted école"),
        ("e\u0301cole", "école"),
        ("हिन्दी।", "हिन्दी"),
        ("…", ""),
        ("", ""),
    ],
)
def test_basic_lowers_and_strips_punctuation_outside_words(text, expected):
    assert normalise(text, "basic") == expected


@given(st.text())
def test_basic_is_settled_after_once(text):
    once = normalise(text, "basic")
    assert normalise(once, "basic") == once


def test_every_normaliser_has_a_description_and_an_unknown_one_is_refused():
    assert all(normalise("a", name) == "a" and text for name, text in NORMALISERS.items())
    with pytest.raises(ParamsError, match=r"evaluation\.normaliser: got 'whisper', expected one of: none, basic"):
        normalise("a", "whisper")
