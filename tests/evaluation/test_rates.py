"""Error rates: words of B-WER and U-WER, halves that add up, and ids that must match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.errors import InputError
from sap2.evaluation import score
from sap2.evaluation.rates import Errors, check_same_ids

sentences = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=8).map(" ".join)


def one(reference, hypothesis, biasing, definition="deep-bias"):
    given = {"u": sorted(biasing)}
    return score({"u": reference}, {"u": hypothesis}, biasing=given, definition=definition, samples=0).systems[0]


@given(sentences, sentences, st.sets(st.sampled_from("abcd")), st.sampled_from(["deep-bias", "slidespeech"]))
def test_both_halves_add_up_to_the_whole(reference, hypothesis, biasing, definition):
    rates = one(reference, hypothesis, biasing, definition)
    assert rates.all == rates.unbiased + rates.biased
    assert rates.all.words == len(reference.split())
    assert rates.all.words - rates.all.deletions + rates.all.insertions == len(hypothesis.split())


def test_biasing_words_count_in_b_wer_and_others_in_u_wer():
    rates = one("see mister meyer now", "see maier now", {"meyer"})
    assert rates.biased == Errors(words=1, substitutions=1)
    assert rates.unbiased == Errors(words=3, deletions=1)


def test_an_inserted_word_of_the_set_counts_in_b_wer():
    assert one("hello there", "hello meyer there", {"meyer"}).biased == Errors(insertions=1)
    assert one("hello there", "hello you there", {"meyer"}).unbiased == Errors(words=2, insertions=1)


def test_slidespeech_b_wer_counts_insertions_only_if_spoken():
    assert one("hello there", "hello meyer there", {"meyer"}, "slidespeech").biased == Errors()
    assert one("hello meyer", "meyer hello meyer", {"meyer"}, "slidespeech").biased == Errors(words=1, insertions=1)


def test_slidespeech_ignores_case_and_deep_bias_does_not():
    assert one("Hello", "hello", {"HELLO"}, "slidespeech").biased == Errors(words=1)
    assert one("Hello", "hello", {"HELLO"}).biased == Errors(words=1, substitutions=1)


def test_utterances_are_matched_by_id_not_by_position():
    references, biasing = {"a": "one", "b": "two"}, {"b": [], "a": ["one"]}
    system = score(references, {"b": "two", "a": "one"}, biasing=biasing, samples=0).systems[0]
    assert (system.all, system.biased) == (Errors(words=2), Errors(words=1))
    assert system.columns["biased_words"].tolist() == [1, 0]


def test_a_rate_without_reference_words_is_undefined():
    rates = one("hello", "hello", set())
    assert (rates.all.rate, rates.unbiased.rate, rates.biased.rate) == (0.0, 0.0, None)
    assert one("", "", set()).all.rate is None


def test_missing_and_extra_ids_are_refused_by_name():
    with pytest.raises(InputError) as error:
        check_same_ids("abcdefgh", ["a", "z"], "hypotheses")
    assert str(error.value) == (
        "hypotheses: b, c, d, e, f and 2 more missing; z not in references; got 2 utterances, "
        "expected the 8 of references: a score must cover all utterances"
    )
    with pytest.raises(InputError, match="^biasing words: a missing; b not in references; got 1"):
        score({"a": "x"}, {"a": "x"}, biasing={"b": ["x"]})


def test_counts_print_as_in_the_published_files():
    errors = Errors(words=5761, substitutions=776, deletions=35)
    assert str(errors) == "error_rate=14.077417115084186, ref_words=5761, subs=776, ins=0, dels=35"
