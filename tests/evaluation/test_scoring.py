"""Scores of systems: what is a biasing word, what is a false alarm, and figures that add up for any input."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.errors import InputError, ParamsError
from sap2.evaluation import score, score_contexts
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.normalise import words
from sap2.evaluation.rates import Errors
from sap2.evaluation.scores import Measure
from sap2.evaluation.scoring import Details, Given, Options, score_systems


def scored(reference, hypothesis, keywords=(), **options):
    scores = score({"u": reference}, {"u": hypothesis}, {"u": list(keywords)}, samples=0, **options)
    return scores, scores.systems[0]


def test_biasing_words_are_those_of_spoken_keywords_only():
    _, system = scored("meyer saw a layer", "maier saw a later", ["Meyer", "hidden layer", "Jon"])
    assert system.biased == Errors(words=1, substitutions=1)


def test_slidespeech_takes_every_list_word_in_the_reference():
    keywords = ["Meyer", "hidden layer"]
    _, system = scored("meyer saw a layer", "maier saw a later", keywords, definition="slidespeech")
    assert system.biased == Errors(words=2, substitutions=2)
    assert system.figures["word_recall"].value == 0.0
    assert system.list_words == KeywordCounts(fn=2)


def test_slidespeech_recall_counts_occurrences_of_list_words():
    keywords = ["neural network", "meyer"]
    texts = ("meyer meyer network of a neural network", "meyer network of neural network network")
    _, system = scored(*texts, keywords, definition="slidespeech")
    # said: meyer 2, network 2, neural 1; written: meyer 1, network 3, neural 1
    assert system.list_words == KeywordCounts(tp=4, fp=1, fn=1)
    assert system.figures["word_recall"].value == 0.8


def test_given_biasing_words_are_taken_as_they_are():
    scores = score({"u": "meyer left"}, {"u": "maier left"}, {"u": ["meyer"]}, biasing={"u": ["left"]}, samples=0)
    assert scores.systems[0].biased == Errors(words=1)
    assert scores.utterances[0].biasing == ("left",)
    assert scores.utterances[0].said == ("meyer",)


def test_an_inserted_unspoken_keyword_is_only_a_false_alarm():
    _, system = scored("hello", "hello meyer", ["Meyer"])
    assert (system.biased, system.unbiased) == (Errors(), Errors(words=1, insertions=1))
    assert (system.keywords, system.figures["keyword_precision"].value) == (KeywordCounts(fp=1), 0.0)
    assert system.figures["false_alarms_per_100"].value == 100.0


def test_a_repeated_spoken_keyword_is_a_b_insertion():
    assert scored("hi meyer", "meyer hi meyer", ["Meyer"])[1].biased == Errors(words=1, insertions=1)


def test_lists_ignore_case_but_error_rates_do_not():
    texts = ("hi meyer", "hi Meyer", ["MEYER"])
    assert scored(*texts)[1].biased == Errors(words=1, substitutions=1)
    assert scored(*texts)[1].keywords == KeywordCounts(tp=1)
    assert scored(*texts, normaliser="basic")[1].biased == Errors(words=1)
    assert scored(*texts, definition="slidespeech")[1].biased == Errors(words=1)


def test_text_and_list_are_normalised_but_lists_keep_spelling():
    scores, system = scored("Ask O\u2019Neil!", "ask oneil", ["O'NEIL,", "Jon"], normaliser="basic")
    assert scores.utterances[0].reference == "ask o'neil"
    assert scores.utterances[0].keywords == ["O'NEIL,", "Jon"]
    assert scores.utterances[0].said == ("O'NEIL,",)
    assert system.lines[0].missed == ("O'NEIL,",)
    assert (scores.settings.normaliser, scores.settings.normaliser_rule[:24]) == ("basic", "text and list in lower c")


def test_phrases_match_only_as_a_whole():
    keywords = ["hidden layer", "meyer", "neural network"]
    _, system = scored(
        "meyer drew a hidden layer of a neural network", "meyer drew a hidden slayer of a neural network", keywords
    )
    assert system.phrases == KeywordCounts(tp=1, fn=1)
    assert system.keywords == KeywordCounts(tp=2, fn=1)
    assert system.figures["phrase_recall"].value == 0.5
    assert system.biased == Errors(words=5, substitutions=1)


def test_stage_1_is_held_against_the_spoken_keywords():
    scores = score(
        {"u": "jon drew a hidden layer", "v": "nothing"},
        {"u": "", "v": ""},
        {"u": ["Jon", "hidden layer", "Meyer"], "v": ["Meyer"]},
        predicted={"u": ["jon", "Meyer", "Meyer"], "v": []},
        samples=0,
    )
    selection = scores.selection
    assert selection.by_utterance == (KeywordCounts(tp=1, fp=1, fn=1), KeywordCounts())
    assert selection.counts == KeywordCounts(tp=1, fp=1, fn=1)
    assert [selection.figures[name].value for name in ("precision", "recall", "f1")] == [0.5, 0.5, 0.5]
    assert (selection.listed_per_utterance, selection.selected_per_utterance) == (2.0, 1.0)
    assert [(row.label, row.keywords) for row in selection.breakdown] == [
        ("1", KeywordCounts()),
        ("3", KeywordCounts(tp=1, fp=1, fn=1)),
    ]


def test_contexts_are_scored_together_and_held_against_none(tmp_path):
    row = {"id": "u", "reference": "ask meyer", "keywords": ["Meyer"], "predicted": ["Meyer"]}
    paths = {}
    for context, text in {"predicted": "ask meyer", "none": "ask maier"}.items():
        paths[context] = tmp_path / f"{context}.jsonl"
        paths[context].write_text(json.dumps({**row, "context": context, "hypothesis": text}), encoding="utf-8")
    scores = score_contexts(paths, samples=0)
    assert [system.name for system in scores.systems] == ["none", "predicted"]
    assert [system.figures.get("b_wer_vs_none") for system in scores.systems] == [None, Measure(0.0)]
    assert scores.selection.counts == KeywordCounts(tp=1)
    assert score_contexts({"none": paths["none"]}, samples=0).selection is None


def test_missing_hypotheses_are_deletions_only_on_request():
    references = {"a": "one two", "b": "three meyer"}
    lists = {"a": [], "b": ["Meyer"]}
    with pytest.raises(InputError, match="hypotheses: b missing; got 1 utterances"):
        score(references, {"a": "one two"}, lists)
    scores = score(references, {"a": "one two"}, lists, missing_as_deletions=True, samples=0)
    system = scores.systems[0]
    assert (system.all, system.missing) == (Errors(words=4, deletions=2), ("b",))
    assert [line.absent for line in system.lines] == [False, True]
    assert (system.lines[1].hypothesis, system.lines[1].missed) == ("", ("Meyer",))
    with pytest.raises(InputError, match="c not in references"):
        score(references, {"a": "one two", "c": "x"}, lists, missing_as_deletions=True)


def test_lists_must_hold_the_same_ids():
    with pytest.raises(InputError, match="lists: a missing"):
        score({"a": "x"}, {"a": "x"}, {"b": []})


def test_empty_texts_lists_and_sets_of_utterances_have_scores():
    _, system = scored("", "", [])
    assert (system.all, system.figures["wer"], system.lines[0].pairs) == (Errors(), Measure(None), ())
    _, system = scored("", "meyer", ["meyer"])
    assert (system.all, system.keywords) == (Errors(insertions=1), KeywordCounts(fp=1))
    _, system = scored("meyer zorvan", "", ["meyer", "zorvan"])
    assert system.unbiased == Errors()
    assert (system.figures["u_wer"].value, system.figures["b_wer"].value) == (None, 100.0)
    assert score({}, {}).systems[0].all == Errors()


def test_chinese_is_scored_by_character():
    _, system = scored("\u6211\u5728\u5317\u4eac", "\u6211\u5728\u4e1c\u4eac", ["\u5317\u4eac"])
    assert system.all == Errors(words=4, substitutions=1)
    assert system.biased == Errors(words=2, substitutions=1)
    assert system.lines[0].missed == ("\u5317\u4eac",)


def test_accents_are_the_same_composed_or_not():
    _, system = scored("une e\u0301cole", "une \u00e9cole", ["E\u0301COLE"])
    assert (system.all.total, system.keywords) == (0, KeywordCounts(tp=1))


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def settings_of(ids, details=None, unit="auto"):
    given = Given({id: "a" for id in ids}, details=details or {})
    return score_systems(given, {"x": ("", "", {id: "a" for id in ids})}, Options(samples=5, unit=unit)).settings


def test_speakers_are_drawn_from_ten_librispeech_speakers_on():
    ids = [f"{speaker}-134686-{number:04}" for speaker in range(10) for number in range(3)]
    assert (settings_of(ids).unit, settings_of(ids).units) == ("speaker", 10)
    assert (settings_of(ids[:27]).unit, settings_of(ids[:27]).units) == ("utterance", 27)
    assert settings_of(ids, unit="utterance").unit == "utterance"


def test_talks_are_drawn_where_ids_or_fields_carry_them():
    ids = [f"talk{talk}-{number:04}" for talk in range(10) for number in range(2)]
    assert (settings_of(ids).unit, settings_of(ids).units) == ("talk", 10)
    details = {str(number): Details(talk=f"t{number % 11}", speaker="s") for number in range(22)}
    assert (settings_of(details, details).unit, settings_of(details, details).units) == ("talk", 11)
    assert settings_of(ids[:4], unit="talk").units == 2


def test_a_unit_that_is_not_known_is_refused():
    with pytest.raises(ParamsError, match="unit: the speaker of abc is unknown"):
        settings_of(["abc"], unit="speaker")
    with pytest.raises(ParamsError, match="unit: got 'city', expected one of: auto, utterance, speaker, talk"):
        settings_of(["abc"], unit="city")


def test_intervals_over_talks_are_wider_when_talks_differ():
    references = {f"talk{talk}-{number}": "a b c d" for talk in range(20) for number in range(20)}
    # Half of the talks are all wrong: utterances are no independent evidence.
    hypotheses = {id: "a b c d" if int(id[4:].split("-")[0]) % 2 else "x y z w" for id in references}
    width = {}
    for unit in ("talk", "utterance"):
        wer = score(references, hypotheses, unit=unit).systems[0].figures["wer"]
        width[unit] = wer.high - wer.low
        assert wer.low <= wer.value == 50.0 <= wer.high
    assert width["talk"] > 3 * width["utterance"]


# ---- properties ------------------------------------------------------------------------------------------------------

word = st.sampled_from(["a", "B", "d'e", "f-g", "\u00e9", "e\u0301", "\u4e2d", "\u6587", "  ", "\u3000", "Stra\u00dfe"])
text = st.lists(word, max_size=7).map(" ".join)
entry = st.lists(word, min_size=1, max_size=2).map(" ".join)
definitions = st.sampled_from(["deep-bias", "slidespeech"])
normalisers = st.sampled_from(["none", "basic"])


@given(st.lists(st.tuples(text, text, st.lists(entry, max_size=4)), min_size=1, max_size=4), definitions, normalisers)
def test_counts_lines_and_figures_agree_on_any_text(rows, definition, normaliser):
    references, hypotheses, lists = (
        {str(at): row[part] for at, row in enumerate(rows)} for part in range(3)
    )  # fmt: skip
    scores = score(references, hypotheses, lists, definition=definition, normaliser=normaliser, samples=3)
    system = scores.systems[0]
    assert system.all == system.unbiased + system.biased
    assert system.all.words == sum(len(utterance.reference.split()) for utterance in scores.utterances)
    lines = list(system.lines)
    assert sum(line.errors for line in lines) == system.all.total
    assert sum(line.biased_errors for line in lines) == system.biased.total
    assert sum(bool(line.missed) for line in lines) <= system.keywords.fn
    assert (sum(len(line.missed) for line in lines) > 0) == (system.keywords.fn > 0)
    assert (sum(len(line.false_alarms) for line in lines) > 0) == (system.keywords.fp > 0)
    for utterance, line in zip(scores.utterances, lines, strict=True):
        said = [pair.reference for pair in line.pairs if pair.reference is not None]
        written = [pair.hypothesis for pair in line.pairs if pair.hypothesis is not None]
        assert (said, written) == (utterance.reference.split(), line.hypothesis.split())
        assert set(utterance.said) <= set(utterance.keywords)
        assert any(pair.said for pair in line.pairs) == bool(utterance.said)
    kinds = {item.kind: item for item in system.error_types}
    assert sum(item.all for item in kinds.values()) == system.all.total
    assert kinds["insertions"].biased == system.biased.insertions
    for name, expected in (("wer", system.all.rate), ("u_wer", system.unbiased.rate), ("b_wer", system.biased.rate)):
        assert system.figures[name].value == (None if expected is None else pytest.approx(expected))
    for name, counts in (("keyword", system.keywords), ("phrase", system.phrases)):
        for figure in ("precision", "recall", "f1"):
            expected = getattr(counts, figure)
            assert system.figures[f"{name}_{figure}"].value == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.tuples(text, text), min_size=1, max_size=4), definitions)
def test_a_perfect_system_has_no_errors_and_finds_every_keyword(rows, definition):
    references = {str(at): said for at, (said, _) in enumerate(rows)}
    lists = {str(at): listed.split() for at, (_, listed) in enumerate(rows)}
    system = score(references, references, lists, definition=definition, samples=0).systems[0]
    assert (system.all.total, system.keywords.fp, system.keywords.fn, system.confused) == (0, 0, 0, ())


@given(st.lists(st.tuples(text, text), min_size=1, max_size=5))
def test_plain_wer_and_cer_under_unit_costs_are_those_of_jiwer(rows):
    jiwer = pytest.importorskip("jiwer", reason="jiwer is the independent scorer this compares with")
    pairs = [(" ".join(words(said)), " ".join(words(written))) for said, written in rows if words(said)]
    if not pairs:
        return
    for split in (str, lambda text: " ".join(text.replace(" ", "_"))):  # words, then characters
        references, hypotheses = ({str(at): split(pair[side]) for at, pair in enumerate(pairs)} for side in (0, 1))
        ours = score(references, hypotheses, definition="slidespeech", samples=0).systems[0].all
        theirs = jiwer.process_words(
            [item.upper() for item in references.values()], [text.upper() for text in hypotheses.values()]
        )
        assert ours.words == theirs.hits + theirs.substitutions + theirs.deletions
        assert ours.total == theirs.substitutions + theirs.insertions + theirs.deletions
        assert ours.rate == pytest.approx(100 * theirs.wer)


@given(st.lists(st.tuples(text, text, st.lists(entry, max_size=3)), min_size=1, max_size=4), definitions)
def test_the_order_of_the_utterances_changes_no_figure(rows, definition):
    parts = [{str(at): row[part] for at, row in enumerate(rows)} for part in range(3)]
    turned = [dict(reversed(part.items())) for part in parts]
    first, other = (score(*each, definition=definition, samples=0).systems[0] for each in (parts, turned))
    assert (first.all, first.biased, first.keywords) == (other.all, other.biased, other.keywords)


def test_an_unknown_definition_or_normaliser_is_refused():
    for options in ({"definition": "kaldi"}, {"normaliser": "whisper"}):
        with pytest.raises(ParamsError, match="expected one of"):
            score({"a": "x"}, {"a": "x"}, **options)


def test_a_shared_list_of_100000_entries_scores_correctly():
    references = {f"u{number}": f"word{number} and the last phrase" for number in range(300)}
    shared = tuple([*(f"word{number}" for number in range(100_000)), "last phrase"])
    system = score(references, references, dict.fromkeys(references, shared), samples=0).systems[0]
    assert system.keywords == KeywordCounts(tp=600)


@cache
def counted():
    generator = np.random.default_rng(1)
    return [" ".join(generator.choice(["meyer", "jon", "we", "saw"], size=6)) for _ in range(40)]


def test_two_runs_give_the_same_scores():
    references, hypotheses = dict(enumerate(counted())), dict(enumerate(reversed(counted())))
    keyed = [{str(at): text for at, text in part.items()} for part in (references, hypotheses)]
    first, two = (score(*keyed, dict.fromkeys(keyed[0], ["meyer"])) for _ in range(2))
    assert first.systems[0].figures == two.systems[0].figures
    assert first.systems[0].confused == two.systems[0].confused
