"""A keyword's score is that of its tokens, for any tokenization of the answer."""

import doctest

import pytest

import sap2.inference.scoring as module
from sap2.inference import Answer
from sap2.inference.scoring import keyword_scores

LISTED = ["Jon", "Maier", "Inc.", "Müller"]


def answer(*tokens: tuple[str, float], text: str | None = None) -> Answer:
    pieces, logprobs = zip(*tokens, strict=True)
    return Answer("".join(pieces).strip() if text is None else text, pieces, logprobs)


def test_examples_in_docstrings_run():
    assert doctest.testmod(module).failed == 0


def test_a_token_with_a_keywords_end_counts_for_it():
    result = keyword_scores(answer((" Mai", -1.0), ("er,", -3.0), (" ", -9.0), ("jon", -0.5)), LISTED)
    assert result == {"Jon": -0.5, "Maier": -4.0}


def test_a_token_over_a_border_counts_for_both_sides():
    assert keyword_scores(answer(("Jon,Mai", -2.0), ("er", -4.0)), LISTED) == {"Jon": -2.0, "Maier": -6.0}


def test_blank_tokens_at_the_ends_are_no_keyword():
    result = keyword_scores(answer(("\n\n", -7.0), ("Jon", -1.0), (",", -5.0), ("Maier", -2.0), ("\n", -8.0)), LISTED)
    assert result == {"Jon": -1.0, "Maier": -2.0}


def test_letters_of_several_tokens_are_scored_together():
    """Half of a character is no text; the words come from the whole answer."""
    tokens = (("M", -1.0), ("\ufffd", -2.0), ("\ufffd", -3.0), ("ller", -2.0), (", Jon", -4.0))
    assert keyword_scores(answer(*tokens, text="Müller, Jon"), LISTED) == {"Jon": -4.0, "Müller": -8.0}


def test_a_keyword_named_twice_keeps_its_better_score():
    assert keyword_scores(answer(("jon", -3.0), (", ", -1.0), ("Jon", -1.0)), LISTED) == {"Jon": -1.0}


@pytest.mark.parametrize("text", ["none", "None.", "", "Smith"])
def test_nothing_selected_has_no_scores(text):
    assert keyword_scores(answer((text, -1.0)), LISTED) == {}


def test_tokens_that_hide_their_separators_get_the_answers_score():
    assert keyword_scores(answer(("?", -1.0), ("?", -3.0), text="Jon, Maier"), LISTED) == {"Jon": -4.0, "Maier": -4.0}


def test_an_answer_without_log_probabilities_is_refused():
    with pytest.raises(ValueError, match="scored=True"):
        keyword_scores(Answer("Jon"), LISTED)
