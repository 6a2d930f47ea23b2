"""Prompts and answers: wording, round trips, and malformed answers."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sap2.prompts as prompts
from sap2.prompts import parse_joint, parse_selection, pruning_target, recognition_prompt


def test_examples_in_docstrings_run():
    assert doctest.testmod(prompts).failed == 0


def test_wording_is_that_of_the_public_checkpoints():
    pair = "<|startofcontext|><|endofcontext|>"
    assert prompts.pruning_prompt() == (
        f"Select keywords that may appear in the speech from the following keywords list: {pair}"
    )
    assert recognition_prompt(True) == (
        f"Transcribe speech to text according to keywords may appear in the utterance. Possible keywords are: {pair}"
    )
    assert recognition_prompt(False) == f"Transcribe speech to text.{pair}"
    assert prompts.joint_prompt() == (
        "First select keywords that may appear in the speech from given keywords list. Then Transcribe speech to text "
        f"according to selected keywords. Keywords are: {pair}"
    )


@pytest.mark.parametrize("answer", ["none", "None.", "NONE", "", "  ", "none, none", "."])
def test_none_in_any_form_selects_nothing(answer):
    assert parse_selection(answer, ["Kathryn", "Maier"]) == ([], [])


def test_the_selection_has_list_spelling_order_no_duplicates():
    listed = ["New  York", "Kathryn", "Maier"]
    assert parse_selection("MAIER, new york,maier", listed) == (["New  York", "Maier"], [])


def test_words_not_in_the_list_are_dropped_and_reported_once():
    assert parse_selection("Maier, Meier, meyer, Meier, Kath", ["Maier", "Kathryn"]) == (
        ["Maier"],
        ["Meier", "meyer", "Kath"],
    )


def test_decomposed_accents_name_the_composed_keyword():
    assert parse_selection("Mu\u0308ller, zoë", ["Müller", "Zoe\u0308"]) == (["Müller", "Zoe\u0308"], [])


def test_exact_spelling_takes_precedence_over_other_case():
    assert parse_selection("maier", ["Maier", "maier"]) == (["maier"], [])
    assert parse_selection("MAIER", ["Maier", "maier"]) == (["Maier"], [])


def test_a_keywords_own_full_stop_is_kept():
    assert parse_selection("inc., Maier.", ["Inc.", "Maier"]) == (["Inc.", "Maier"], [])


@given(st.lists(st.text("abcÄß é.", min_size=1).map(str.strip).filter(lambda w: w.strip(". ")), unique_by=str.casefold))
def test_a_target_reads_back_as_itself(keywords):
    listed = [" ".join(word.split()) for word in keywords]
    listed = list({word.casefold().rstrip("."): word for word in listed}.values())
    assert parse_selection(pruning_target(listed), listed) == (listed, [])


@given(st.text(), st.lists(st.text()))
def test_answers_never_select_words_outside_the_list(answer, listed):
    assert set(parse_selection(answer, listed)[0]) <= set(listed)


def test_joint_answer_reads_back():
    target = prompts.joint_target(["Maier"], "ask maier")
    assert parse_joint(target, ["Maier", "Myer"]) == (["Maier"], [], "ask maier")
    assert parse_joint(prompts.joint_target([], "hello"), ["Maier"]) == ([], [], "hello")
