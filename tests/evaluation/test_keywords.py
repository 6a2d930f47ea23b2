"""Keyword figures: what counts as said, picked, written, and as a false alarm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.evaluation.keywords import KeywordCounts, Occurrences, distinct, score_selection, score_transcript, spoken


def test_spoken_keywords_are_whole_words_in_list_order_and_spelling():
    listed = ["Network", "Neural  Network", "net", "neural net", "Kathryn", "KATHRYN", " "]
    assert spoken(listed, "kathryn drew a NEURAL network") == ["Network", "Neural  Network", "Kathryn"]


def test_a_phrase_counts_only_where_its_words_stand_in_a_row():
    assert spoken(["hidden layer"], "a hidden second layer") == []
    assert spoken(["hidden layer"], "layer hidden layer") == ["hidden layer"]


def test_selection_ignores_case_order_and_doubles():
    assert score_selection(["MEYER", "jon", "jon"], ["Kathryn", "Meyer"]) == KeywordCounts(tp=1, fp=1, fn=1)
    assert score_selection([], []) == KeywordCounts()


def test_transcript_counts_occurrences():
    listed = ["Meyer", "Jon", "hidden layer"]
    assert score_transcript(listed, "meyer saw meyer", "meyer saw maier") == KeywordCounts(tp=1, fn=1)
    assert score_transcript(listed, "meyer spoke", "Meyer meyer spoke") == KeywordCounts(tp=1, fp=1)
    assert score_transcript(listed, "a layer", "a hidden layer jon") == KeywordCounts(fp=2)
    assert score_transcript(listed, "hello", "hello there") == KeywordCounts()


def test_figures_are_micro_averages_and_undefined_without_anything_to_count():
    total = KeywordCounts(tp=2, fp=0, fn=2) + KeywordCounts(tp=1, fp=1, fn=0)
    assert (total.precision, total.recall, total.f1) == (0.75, 0.6, pytest.approx(2 / 3))
    assert (KeywordCounts().precision, KeywordCounts().recall, KeywordCounts().f1) == (None, None, None)
    assert KeywordCounts(fn=1).f1 == 0.0


def test_covered_positions_are_those_of_every_word():
    listed = distinct(["hidden layer", "Meyer"])
    found = Occurrences(listed, "meyer drew a hidden layer".split())
    assert found.covered(listed) == {0, 3, 4}
    assert found.covered([("meyer",)]) == {0}


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_a_perfect_transcript_misses_and_invents_nothing(words, keywords):
    listed = [*keywords, *(" ".join(pair) for pair in zip(keywords, keywords[1:], strict=False))]
    text = " ".join(words)
    counts = score_transcript(listed, text, text)
    assert (counts.fp, counts.fn) == (0, 0)
    assert bool(counts.tp) == bool(spoken(listed, text))
