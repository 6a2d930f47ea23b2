"""Error rates: the published results digit by digit, jiwer under unit costs, and what is B and what is U."""

import json
import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.errors import InputError
from sap2.evaluation.rates import Errors, by_id, error_rates

DEEP_BIAS = Path(__file__).parents[3] / "shared" / "data" / "is21_deep_bias"
SYSTEMS = [
    "b1.rnnt_baseline",
    "b2.b1+nnlm",
    *(
        f"{system}.biasing_{size}"
        for system in ("s1.b1+db-rnnt", "s2.b1+wfst", "s3.s2+db-rnnt", "s4.s3+nnlm", "s5.s3+db-nnlm")
        for size in (100, 500, 1000, 2000)
    ),
]
sentences = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=8).map(" ".join)


@cache
def deep_bias_references() -> tuple[dict[str, str], dict[str, set[str]]]:
    if not DEEP_BIAS.is_dir():
        pytest.skip(
            f"{DEEP_BIAS} is absent: the published results of is21_deep_bias are test material, not in the repository"
        )
    lines = (DEEP_BIAS / "ref" / "test-clean.biasing_100.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    return by_id(((row[0], row[1]) for row in rows), "ref"), {row[0]: set(json.loads(row[2])) for row in rows}


def deep_bias_hypotheses(system: str) -> dict[str, str]:
    lines = (DEEP_BIAS / "hyp" / f"test-clean.{system}.tsv").read_text(encoding="utf-8").splitlines()
    return by_id(((id, text) for id, _, text in (line.partition("\t") for line in lines)), system)


@pytest.mark.parametrize("system", SYSTEMS)
def test_published_deep_bias_results_are_reproduced_digit_by_digit(system):
    references, biasing = deep_bias_references()
    published = (DEEP_BIAS / "results" / f"test-clean.{system}.tsv.result").read_text(encoding="utf-8")
    assert f"{error_rates(references, deep_bias_hypotheses(system), biasing)}\n" == published.rstrip("\n") + "\n"


def test_all_published_results_are_in_the_list_above():
    deep_bias_references()
    assert {path.name for path in (DEEP_BIAS / "results").iterdir()} == {
        f"test-clean.{name}.tsv.result" for name in SYSTEMS
    }


def test_a_test_set_of_2620_utterances_is_scored_in_under_a_second():
    references, biasing = deep_bias_references()
    hypotheses = deep_bias_hypotheses(SYSTEMS[0])
    started = time.process_time()
    error_rates(references, hypotheses, biasing)
    assert time.process_time() - started < 1  # of the processor, which others may be using too


@given(st.lists(st.tuples(sentences, sentences | st.just("")), min_size=1, max_size=5))
def test_plain_wer_under_unit_costs_is_that_of_jiwer(pairs):
    jiwer = pytest.importorskip("jiwer", reason="jiwer is the independent scorer this compares with")
    references = {str(number): reference for number, (reference, _) in enumerate(pairs)}
    hypotheses = {str(number): hypothesis for number, (_, hypothesis) in enumerate(pairs)}
    ours = error_rates(references, hypotheses, {id: set() for id in references}, "slidespeech").all
    theirs = jiwer.process_words(list(references.values()), list(hypotheses.values()))
    assert ours.rate == pytest.approx(100 * theirs.wer)
    assert ours.words == theirs.hits + theirs.substitutions + theirs.deletions
    assert ours.total == theirs.substitutions + theirs.insertions + theirs.deletions


@given(sentences, sentences, st.sets(st.sampled_from("abcd")), st.sampled_from(["deep-bias", "slidespeech"]))
def test_both_halves_add_up_to_the_whole(reference, hypothesis, biasing, definition):
    rates = error_rates({"u": reference}, {"u": hypothesis}, {"u": biasing}, definition)
    assert rates.all == rates.unbiased + rates.biased == list(rates.utterances)[0].all
    assert rates.all.words == len(reference.split())
    assert rates.all.words - rates.all.deletions + rates.all.insertions == len(hypothesis.split())


def one(reference, hypothesis, biasing, definition="deep-bias"):
    return error_rates({"u": reference}, {"u": hypothesis}, {"u": biasing}, definition)


def test_a_reference_word_of_the_set_counts_in_b_wer_and_others_in_u_wer():
    rates = one("see mister meyer now", "see maier now", {"meyer"})
    assert rates.biased == Errors(words=1, substitutions=1)
    assert rates.unbiased == Errors(words=3, deletions=1)


def test_an_inserted_word_of_the_set_counts_in_b_wer():
    assert one("hello there", "hello meyer there", {"meyer"}).biased == Errors(insertions=1)
    assert one("hello there", "hello you there", {"meyer"}).unbiased == Errors(words=2, insertions=1)


def test_slidespeech_counts_an_inserted_list_word_in_b_wer_only_if_it_was_said():
    assert one("hello there", "hello meyer there", {"meyer"}, "slidespeech").biased == Errors()
    assert one("hello meyer", "meyer hello meyer", {"meyer"}, "slidespeech").biased == Errors(words=1, insertions=1)


def test_slidespeech_ignores_case_and_deep_bias_does_not():
    assert one("Hello", "hello", {"HELLO"}, "slidespeech").biased == Errors(words=1)
    assert one("Hello", "hello", {"HELLO"}).unbiased == Errors(words=1, substitutions=1)


def test_utterances_are_matched_by_id_not_by_place():
    references, biasing = {"a": "one", "b": "two"}, {"b": set(), "a": {"one"}}
    rates = error_rates(references, {"b": "two", "a": "one"}, biasing)
    assert rates.all == Errors(words=2)
    assert [(utterance.id, utterance.biased.words) for utterance in rates.utterances] == [("a", 1), ("b", 0)]


def test_a_rate_without_reference_words_is_undefined():
    rates = one("hello", "hello", set())
    assert (rates.all.rate, rates.unbiased.rate, rates.biased.rate) == (0.0, 0.0, None)
    assert one("", "", set()).all.rate is None


def test_missing_and_extra_ids_are_refused_by_name():
    references = {id: "x" for id in "abcdefgh"}
    with pytest.raises(InputError) as error:
        error_rates(references, {"a": "x", "z": "x"}, {id: set() for id in references})
    assert str(error.value) == (
        "hypotheses: b, c, d, e, f and 2 more missing; z not in references; got 2 utterances, "
        "expected the 8 of references: no utterance may be left out of a score"
    )
    with pytest.raises(InputError, match="^biasing words: a missing; got 0 utterances"):
        error_rates({"a": "x"}, {"a": "x"}, {})


def test_duplicate_ids_are_refused_by_name():
    assert by_id([("a", 1), ("b", 2)], "hyp.tsv") == {"a": 1, "b": 2}
    with pytest.raises(InputError, match=r"^hyp\.tsv: b more than once; each utterance must come once$"):
        by_id([("a", 1), ("b", 2), ("b", 2)], "hyp.tsv")


def test_counts_print_as_in_the_published_files():
    errors = Errors(words=5761, substitutions=776, deletions=35)
    assert str(errors) == "error_rate=14.077417115084186, ref_words=5761, subs=776, ins=0, dels=35"
