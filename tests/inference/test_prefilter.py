"""The prefilter keeps keywords that look or sound like the first transcript, in list order, for any script."""

import doctest

import numpy as np
import pytest

import sap2.inference.prefilter as module
from sap2.inference.prefilter import shortlist, similarity

OTHERS = [f"zorv{a}{b}k" for a in "aeiou" for b in "bcdfghlmnprst"]


def test_examples_in_docstrings_run():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("hypothesis", "keyword"),
    [
        ("the proof by maier", "Maier"),  # as it is written
        ("the proof by meier", "Maier"),  # misspelt
        ("the proof by fillip", "Philip"),  # sounds alike, looks otherwise
        ("the proof by cath ryn", "Kathryn"),  # heard as two words
        ("he lives in new yorck city", "New York City"),  # several words
        ("see 3com", "3Com"),
        ("ein satz von müler", "Müller"),
        ("彼 は 田中 です", "田中"),
    ],
)
def test_differing_words_at_an_overlap_are_kept(hypothesis, keyword):
    words = [*OTHERS[:30], keyword, *OTHERS[30:]]
    assert keyword in shortlist([hypothesis], [words], keep=3)[0]


def test_kept_words_are_in_list_order_and_short_lists_whole():
    words = ["Maier", *OTHERS, "Kathryn"]
    kept = shortlist(["kathrin and mayer", "kathrin"], [words, ["b", "a"]], keep=5)
    assert len(kept[0]) == 5 and [word for word in words if word in kept[0]] == kept[0]
    assert {"Maier", "Kathryn"} <= set(kept[0]) and kept[1] == ["b", "a"]


def test_the_same_word_scores_most():
    scores = similarity("ask maier now", ["Maier", "Meier", "Zorvan"])
    assert scores[0] == pytest.approx(2.0) and scores[0] > scores[1] > scores[2]


def test_words_without_a_sound_do_not_match_each_other_for_it():
    """The Metaphone of "3000" and of "田中" is empty: two empty keys are no likeness."""
    assert similarity("4711", ["3000"])[0] < 1.0
    assert similarity("田中", ["鈴木"])[0] == 0.0


@pytest.mark.parametrize("hypothesis", ["", "  ", "!?"])
def test_an_empty_first_pass_still_leaves_so_many(hypothesis):
    assert shortlist([hypothesis], [OTHERS], keep=7) == [OTHERS[:7]]
    assert similarity(hypothesis, []).shape == (0,)


def test_a_list_shared_by_utterances_is_prepared_once(monkeypatch):
    made = []
    metaphone = module.jellyfish.metaphone
    monkeypatch.setattr(module.jellyfish, "metaphone", lambda word: made.append(word) or metaphone(word))
    rng = np.random.default_rng(0)
    words = ["".join(letters) for letters in rng.choice(list("abcdefghiklmnoprstuvz"), (2_000, 8))] + ["kathryn"]
    kept = shortlist(["the theorem of cathrin"] * 3, [list(words) for _ in range(3)], keep=20)
    assert all("kathryn" in short for short in kept) and made.count("kathryn") == 1
