"""Aligned lines: keywords marked found, missed or false, and the text written instead of missed keywords."""

from sap2.evaluation import score
from sap2.evaluation.scores import WordPair


def marked(reference, hypothesis, keywords, **options):
    scores = score({"u": reference}, {"u": hypothesis}, {"u": keywords}, samples=0, **options)
    return scores.systems[0].lines[0], scores.systems[0]


def test_keywords_are_marked_found_missed_or_false():
    line, _ = marked("today jon met meyer here", "today jon met maier here kathryn", ["Jon", "Meyer", "Kathryn"])
    assert line.pairs == (
        WordPair("equal", "today", "today"),
        WordPair("equal", "jon", "jon", biased=True, said="found"),
        WordPair("equal", "met", "met"),
        WordPair("substitution", "meyer", "maier", biased=True, said="missed"),
        WordPair("equal", "here", "here"),
        WordPair("insertion", None, "kathryn", written="false"),
    )
    assert (line.errors, line.biased_errors, line.missed, line.false_alarms) == (2, 1, ("Meyer",), ("Kathryn",))


def test_one_keyword_written_for_another_is_marked_on_both_sides():
    line, _ = marked("jon spoke", "john spoke", ["Jon", "John"])
    assert line.pairs[0] == WordPair("substitution", "jon", "john", True, "missed", "false")


def test_all_words_of_a_phrase_nobody_said_are_marked():
    line, _ = marked("a hidden second layer", "a hidden layer", ["hidden layer"])
    assert [(pair.hypothesis, pair.written) for pair in line.pairs] == [
        ("a", ""),
        ("hidden", "false"),
        (None, ""),
        ("layer", "false"),
    ]


def test_a_displaced_keyword_is_missed_but_no_false_alarm():
    line, _ = marked("jon saw it", "saw it jon", ["Jon"])
    assert [(pair.said, pair.written) for pair in line.pairs] == [("missed", ""), ("", ""), ("", ""), ("", "")]
    assert (line.missed, line.false_alarms) == ((), ())


def test_words_keep_their_case_where_matching_ignores_it():
    line, _ = marked("Hi Meyer", "hi MEYER", ["meyer"], definition="slidespeech")
    assert line.pairs == (WordPair("equal", "Hi", "hi"), WordPair("equal", "Meyer", "MEYER", True, "found"))


def test_lines_are_a_sequence():
    scores = score({"a": "x", "b": "y"}, {"a": "x", "b": "z"}, samples=0)
    lines = scores.systems[0].lines
    assert (len(lines), [line.errors for line in lines], lines[-1].hypothesis) == (2, [0, 1], "z")


def test_confused_keywords_come_with_what_was_written_instead():
    references = {"a": "ask jon meyer", "b": "jon left", "c": "hello", "d": "jon here"}
    hypotheses = {"a": "ask john maier", "b": "john left", "c": "hello jon", "d": "jon here"}
    system = score(references, hypotheses, dict.fromkeys(references, ["Jon", "Meyer"]), samples=0).systems[0]
    jon, meyer = system.confused
    assert (jon.keyword, jon.said, jon.found, jon.missed, jon.false_alarms) == ("Jon", 3, 1, 2, 1)
    assert (jon.instead, jon.ids) == ((("john", 2),), ("a", "b", "c"))
    assert (meyer.keyword, meyer.instead) == ("Meyer", (("maier", 1),))


def test_an_omitted_phrase_has_no_replacement():
    _, system = marked("a neural network is", "a is", ["Neural Network"])
    assert system.confused[0].instead == (("", 1),)
