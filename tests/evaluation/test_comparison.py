"""Comparison of two systems: differences with intervals and p, and changed keywords."""

import pytest

from sap2.errors import InputError
from sap2.evaluation import compare
from sap2.evaluation.comparison import KeywordChange, UtteranceChange
from sap2.evaluation.scores import Measure
from sap2.evaluation.scoring import Given, Options, score_systems

REFERENCES = {"a": "ask jon meyer", "b": "good bye", "c": "see kathryn", "d": "hello"}
LISTS = dict.fromkeys(REFERENCES, ("Jon", "Meyer", "Kathryn"))
FIRST = {"a": "ask john maier", "b": "good bye meyer", "c": "see kathryn", "d": "hello"}
SECOND = {"a": "ask jon meyer", "b": "good bye", "c": "see catherine", "d": "hello jon"}


def scored(*systems, references=REFERENCES, lists=LISTS, **options):
    named = {str(at): ("", "", system) for at, system in enumerate(systems)}
    return score_systems(Given(references, lists), named, Options(**options))


def test_differences_are_those_of_the_second_to_the_first():
    result = compare(scored(FIRST, SECOND)).figures
    # 8 words: 3 errors, then 2; said keywords 3: 1 found, then 2
    assert (result["wer"].a, result["wer"].b, result["wer"].difference.value) == (37.5, 25.0, -12.5)
    assert result["keyword_recall"].difference.value == pytest.approx(1 / 3)
    assert result["wer"].difference.low <= -12.5 <= result["wer"].difference.high
    assert "phrase_recall" not in result


def test_a_system_against_itself_differs_in_nothing():
    comparison = compare(scored(FIRST, FIRST))
    for figure in comparison.figures.values():
        assert (figure.difference, figure.p) == (Measure(0.0, 0.0, 0.0), 1.0)
    assert (comparison.better, comparison.worse, comparison.keywords) == ((), (), ())


def test_utterances_and_keywords_that_changed_sides_are_named():
    comparison = compare(scored(FIRST, SECOND))
    assert comparison.better == (UtteranceChange("a", 2, 0), UtteranceChange("b", 1, 0))
    assert comparison.worse == (UtteranceChange("c", 0, 1), UtteranceChange("d", 0, 1))
    assert comparison.keywords == (
        KeywordChange("Jon", won=("a",), alarms_new=("d",)),
        KeywordChange("Meyer", won=("a",), alarms_ended=("b",)),
        KeywordChange("Kathryn", lost=("c",)),
    )


def test_turning_the_systems_round_turns_every_sign():
    first, other = compare(scored(FIRST, SECOND)), compare(scored(FIRST, SECOND), 1, 0)
    for name, figure in first.figures.items():
        turned = other.figures[name]
        assert turned.difference.value == -figure.difference.value
        assert turned.difference.low == pytest.approx(-figure.difference.high)
        assert turned.p == pytest.approx(figure.p, abs=0.02)


def test_only_consistent_differences_are_significant():
    references = {f"u{number}": "a b c d" for number in range(200)}
    worse = {id: "a b x d" for id in references}
    once = {**references, "u7": "a b x d"}
    sure, unsure = (compare(scored(references, system, references=references, lists={})) for system in (worse, once))
    assert sure.figures["wer"].p == pytest.approx(1 / 1001)
    assert unsure.figures["wer"].p > 0.5


def test_talks_are_shuffled_together():
    references = {f"talk{talk}-{number}": "a b c d" for talk in range(10) for number in range(20)}
    # One talk of ten is worse throughout: twenty utterances, but a single piece of evidence.
    worse = {id: "a b x d" if id.startswith("talk3-") else text for id, text in references.items()}
    by_unit = {
        unit: compare(scored(references, worse, references=references, lists={}, unit=unit)).figures["wer"].p
        for unit in ("talk", "utterance")
    }
    assert by_unit["utterance"] < 0.01 < 0.5 < by_unit["talk"]


def test_systems_are_selected_by_name_and_others_refused():
    scores = scored(FIRST, SECOND)
    assert compare(scores, "0", "1").b == "1"
    with pytest.raises(InputError, match="compare: no system 'x', expected one of: 0, 1"):
        compare(scores, "x")
