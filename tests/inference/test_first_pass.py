"""Evidence of the first pass for each keyword: positions, competition, weights."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.inference.first_pass import PLACES, Written, chances, written
from sap2.inference.prefilter import similarity
from sap2.settings import FirstPassWeights

WEIGHTS = FirstPassWeights()
words = st.text("abcdeiou", min_size=1, max_size=6)


def test_a_keyword_is_written_where_it_is_most_alike():
    first, *others = written("we thank cathrin mayer for it", {"Catherine": 2.0}, WEIGHTS)
    assert first.text == "we thank Catherine mayer for it" and (first.start, first.end) == (2, 3)
    assert len(others) == PLACES - 1 and others[0].start <= 2 < others[0].end


def test_a_phrase_replaces_as_many_words():
    candidate = written("the prefix to ning of models", {"prefix tuning": 2.0}, WEIGHTS)[0]
    assert candidate.text == "the prefix tuning of models"


def test_candidates_are_sorted_and_limited():
    heard, odds = "ask maier about zorvan", {"Maier": -1.0, "Zorvan": 3.0, "Dorst": 0.0, "Meier": 1.0, "q": -30.0}
    tried = written(heard, odds, WEIGHTS.model_copy(update={"candidates": 3}))
    assert list(dict.fromkeys(candidate.keyword for candidate in tried)) == ["Zorvan", "Meier", "Maier"]
    likeness = dict(zip(odds, similarity(heard, list(odds)), strict=True))
    assert {candidate.keyword: candidate.likeness for candidate in tried} == {
        candidate.keyword: pytest.approx(likeness[candidate.keyword]) for candidate in tried
    }
    assert "q" not in {candidate.keyword for candidate in written(heard, odds, WEIGHTS)}


@given(st.lists(words, max_size=6), st.dictionaries(words, st.floats(-20, 20), max_size=8))
def test_only_likely_keywords_are_tried(heard, tags):
    tried = written(" ".join(heard), tags, WEIGHTS.model_copy(update={"candidates": len(tags) + 1}))
    alike = similarity(" ".join(heard), list(tags))
    expected = {
        word for word, like in zip(tags, alike, strict=True)
        if WEIGHTS.tag * tags[word] + WEIGHTS.likeness * like + WEIGHTS.prior >= WEIGHTS.promising
    }  # fmt: skip
    assert {candidate.keyword for candidate in tried} == expected
    for candidate in tried:
        assert candidate.text.split() == [*heard[: candidate.start], candidate.keyword, *heard[candidate.end :]]


def place(keyword: str, start: int, end: int, tag: float = 0.0) -> Written:
    return Written(start, end, keyword, tag, 1.0, keyword)


def odds(tag: float, gain: float) -> float:
    return WEIGHTS.tag * tag + WEIGHTS.likeness + WEIGHTS.likelihood * gain + WEIGHTS.prior


def test_keywords_at_the_same_words_compete():
    result = chances([place("a", 1, 2, 3.0), place("b", 1, 3, 1.0), place("c", 3, 4)], [0.0, -2.0, -40.0], WEIGHTS)
    a, b, c = odds(3.0, 0.0), odds(1.0, -2.0), odds(0.0, -40.0)
    together = 1 + math.exp(a) + math.exp(b)
    assert result == pytest.approx(
        {"a": math.log(math.exp(a) / together), "b": math.log(math.exp(b) / together), "c": -math.log1p(math.exp(-c))}
    )


def test_a_keyword_is_kept_at_its_best_words():
    tried = [place("a", 0, 1), place("a", 2, 3), place("b", 0, 1)]
    result = chances(tried, [-30.0, -1.0, -1.0], WEIGHTS)
    assert result["a"] == result["b"] == pytest.approx(-math.log1p(math.exp(-odds(0.0, -1.0)))), "they are no rivals"


def test_without_words_all_are_rivals():
    tried = written("", {"a": 9.0, "b": 9.0}, WEIGHTS)
    assert {(candidate.start, candidate.end, candidate.text) for candidate in tried} == {(0, 0, "a"), (0, 0, "b")}
    assert sum(map(math.exp, chances(tried, [0.0] * len(tried), WEIGHTS).values())) < 1


@given(
    st.lists(st.tuples(words, st.integers(0, 5), st.integers(1, 3), st.floats(-900, 900), st.floats(-900, 900))),
)
def test_chances_are_chances(rows):
    tried = [place(word, start, start + size, tag) for word, start, size, tag, _ in rows]
    result = chances(tried, [gain for *_, gain in rows], WEIGHTS)
    assert list(result) == list(dict.fromkeys(word for word, *_ in rows))
    assert all(np.isfinite(value) and value <= 0 for value in result.values())
    same = [
        candidate for candidate in result if {(w.start, w.end) for w in tried if w.keyword == candidate} == {(0, 1)}
    ]
    assert sum(math.exp(result[candidate]) for candidate in same) <= 1 + 1e-9


def test_nothing_listed_nothing_tried():
    assert written("ask maier", {}, WEIGHTS) == [] and chances([], [], WEIGHTS) == {}
