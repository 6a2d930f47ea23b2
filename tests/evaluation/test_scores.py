"""Scores of whole results files: which words are biasing words, and what stage 1 is held against."""

import json

from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.rates import Errors
from sap2.evaluation.scores import score_contexts


def scored(tmp_path, definition="deep-bias", normaliser="none", **fields):
    row = {"id": "u", "context": "predicted", "predicted": [], "keywords": [], **fields}
    path = tmp_path / "predicted.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    return score_contexts({"predicted": path}, definition, normaliser)


def test_biasing_words_are_those_of_spoken_keywords_only(tmp_path):
    scores = scored(
        tmp_path,
        reference="meyer saw a layer",
        hypothesis="maier saw a later",
        keywords=["Meyer", "hidden layer", "Jon"],
    )
    assert scores.contexts["predicted"].rates.biased == Errors(words=1, substitutions=1)


def test_slidespeech_takes_every_list_word_in_the_reference(tmp_path):
    scores = scored(
        tmp_path,
        "slidespeech",
        reference="meyer saw a layer",
        hypothesis="maier saw a later",
        keywords=["Meyer", "hidden layer"],
    )
    assert scores.contexts["predicted"].rates.biased == Errors(words=2, substitutions=2)


def test_an_inserted_list_word_nobody_said_is_a_false_alarm_not_a_b_error(tmp_path):
    context = scored(tmp_path, reference="hello", hypothesis="hello meyer", keywords=["Meyer"]).contexts["predicted"]
    assert (context.rates.biased, context.rates.unbiased) == (Errors(), Errors(words=1, insertions=1))
    assert context.keywords == [KeywordCounts(fp=1)]


def test_a_repeated_spoken_keyword_is_a_b_insertion(tmp_path):
    context = scored(tmp_path, reference="hi meyer", hypothesis="meyer hi meyer", keywords=["Meyer"]).contexts[
        "predicted"
    ]
    assert context.rates.biased == Errors(words=1, insertions=1)


def test_the_list_matches_without_case_and_the_rates_compare_as_written(tmp_path):
    texts = {"reference": "hi meyer", "hypothesis": "hi Meyer", "keywords": ["MEYER"]}
    assert scored(tmp_path, **texts).contexts["predicted"].rates.biased == Errors(words=1, substitutions=1)
    assert scored(tmp_path, normaliser="basic", **texts).contexts["predicted"].rates.biased == Errors(words=1)
    assert scored(tmp_path, **texts).contexts["predicted"].keywords == [KeywordCounts(tp=1)]


def test_stage_1_is_held_against_the_spoken_keywords(tmp_path):
    scores = scored(
        tmp_path,
        reference="jon drew a hidden layer",
        hypothesis="",
        keywords=["Jon", "hidden layer", "Meyer"],
        predicted=["jon", "Meyer"],
    )
    assert scores.selections == [KeywordCounts(tp=1, fp=1, fn=1)]


def test_without_the_predicted_context_there_are_no_selections(tmp_path):
    path = tmp_path / "none.jsonl"
    path.write_text(json.dumps({"id": "u", "hypothesis": "", "reference": "a", "keywords": []}), encoding="utf-8")
    assert score_contexts({"none": path}).selections is None
