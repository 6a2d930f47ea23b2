"""Breakdowns: parts by list size, duration, talk and training words."""

from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.scoring import Details, Given, Options, score_systems


def rows(group, references, hypotheses=None, **given):
    options = Options(samples=20)
    scores = score_systems(Given(references, **given), {"x": ("", "", hypotheses or references)}, options)
    return [row for row in scores.systems[0].breakdown if row.group == group]


def test_many_list_sizes_are_grouped_without_overlap():
    references = {f"u{size}x": "word0 end" for size in range(1, 41)}
    lists = {f"u{size}x": [f"word{number}" for number in range(size)] for size in range(1, 41)}
    parts = rows("list size", references, lists=lists)
    assert [row.label for row in parts] == ["1 to 7", "8 to 15", "16 to 23", "24 to 31", "32 to 40"]
    assert sum(row.utterances for row in parts) == sum(row.keywords.tp for row in parts) == 40


def test_a_part_has_the_figures_of_its_utterances_with_intervals():
    references = {f"u{number}x": "a b" for number in range(20)}
    hypotheses = {id: "a x" if number < 5 else "a b" for number, id in enumerate(references)}
    lists = {id: ["b"] if number < 10 else ["b", "c"] for number, id in enumerate(references)}
    short, long = rows("list size", references, hypotheses, lists=lists)
    assert (short.label, short.utterances, short.figures["wer"].value) == ("1", 10, 25.0)
    assert short.figures["wer"].low < 25.0 < short.figures["wer"].high
    assert (long.figures["b_wer"].value, short.figures["keyword_recall"].value) == (0.0, 0.5)


def test_durations_fall_into_fixed_parts():
    seconds = {"a": 0.5, "b": 2.0, "c": 4.9, "d": 30.0}
    details = {id: Details(duration=duration) for id, duration in seconds.items()}
    parts = rows("duration", dict.fromkeys(seconds, "x"), details=details)
    assert [(row.label, row.utterances) for row in parts] == [("under 2 s", 1), ("2 to 5 s", 2), ("20 s and more", 1)]
    assert rows("duration", {"a": "x", "b": "x"}, details={"a": Details(1.0), "b": Details(None)}) == []


def test_talks_have_figures_without_intervals():
    references = {"t1-1": "a", "t1-2": "a", "t2-1": "a"}
    first, second = rows("talk", references, {**references, "t1-2": "x"})
    assert (first.label, first.utterances, first.figures["wer"].value) == ("t1", 2, 50.0)
    assert (first.figures["wer"].low, second.figures["wer"].value) == (None, 0.0)


def test_speakers_stand_for_talks_where_those_are_unknown():
    assert [row.label for row in rows("speaker", {"7-1-0001": "a", "8-1-0001": "a"})] == ["7", "8"]


def test_keywords_are_seen_when_training_holds_all_their_words():
    references = {"a": "jon met meyer", "b": "a hidden layer"}
    hypotheses = {"a": "jon met maier", "b": "a hidden later"}
    lists = dict.fromkeys(references, ["Jon", "Meyer", "hidden layer"])
    seen, unseen = rows("keyword in training", references, hypotheses, lists=lists, training={"jon", "a", "hidden"})
    assert (seen.label, seen.utterances, seen.keywords) == ("seen", 1, KeywordCounts(tp=1))
    assert (unseen.label, unseen.utterances, unseen.keywords) == ("unseen", 2, KeywordCounts(fn=2))
    # Words: jon and hidden were seen, meyer and layer not.
    assert (seen.figures["b_wer"].value, unseen.figures["b_wer"].value) == (0.0, 100.0)


def test_a_group_with_a_single_part_is_omitted():
    assert rows("list size", {"a": "x", "b": "x"}, lists={"a": ["x"], "b": ["y"]}) == []
