"""Keyword figures: spoken, selected and written keywords, and false alarms."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.deep_bias import ListCell
from sap2.evaluation import score
from sap2.evaluation.keywords import (
    KeywordCounts,
    KeywordList,
    Vocabulary,
    caseless,
    covered,
    spoken,
    surplus,
)
from sap2.manifest import Utterance
from sap2.manifest import spoken as spoken_in_manifest


def test_spoken_keywords_have_list_order_and_spelling():
    listed = ["Network", "Neural  Network", "net", "neural net", "Kathryn", "KATHRYN", " "]
    assert spoken(listed, "kathryn drew a NEURAL network") == ["Network", "Neural  Network", "Kathryn"]


def test_a_phrase_counts_only_where_its_words_stand_in_a_row():
    assert spoken(["hidden layer"], "a hidden second layer") == []
    assert spoken(["hidden layer"], "layer hidden layer") == ["hidden layer"]


def counts(listed, reference, hypothesis):
    return score({"u": reference}, {"u": hypothesis}, {"u": listed}, samples=0).systems[0].keywords


def test_transcript_counts_occurrences():
    listed = ["Meyer", "Jon", "hidden layer"]
    assert counts(listed, "meyer saw meyer", "meyer saw maier") == KeywordCounts(tp=1, fn=1)
    assert counts(listed, "meyer spoke", "Meyer meyer spoke") == KeywordCounts(tp=1, fp=1)
    assert counts(listed, "a layer", "a hidden layer jon") == KeywordCounts(fp=2)
    assert counts(listed, "hello", "hello there") == KeywordCounts()


def test_figures_are_micro_averages_or_undefined():
    total = KeywordCounts(tp=2, fp=0, fn=2) + KeywordCounts(tp=1, fp=1, fn=0)
    assert (total.precision, total.recall, total.f1) == (0.75, 0.6, pytest.approx(2 / 3))
    assert (KeywordCounts().precision, KeywordCounts().recall, KeywordCounts().f1) == (None, None, None)
    assert KeywordCounts(fn=1).f1 == 0.0


def test_covered_positions_are_those_of_every_word():
    result = KeywordList(["hidden layer", "Meyer"]).places("meyer drew a hidden layer".split())
    assert covered(result, result) == {0, 3, 4}
    assert covered(result, ["meyer"]) == {0}


def test_apostrophes_and_hyphens_are_part_of_the_word():
    assert spoken(["york", "York's", "well-known", "known"], "york's well-known trains") == ["York's", "well-known"]


def test_composed_and_decomposed_accents_are_the_same_keyword():
    assert spoken(["E\u0301cole", "\u00c9COLE"], "une \u00e9cole") == ["E\u0301cole"]
    assert spoken(["Stra\u00dfe"], "die STRASSE") == ["Stra\u00dfe"]


def test_chinese_keywords_match_inside_a_sentence():
    assert spoken(["\u4e1c\u4eac", "\u4eac\u90fd"], "\u6211\u5728\u4e1c\u4eac") == ["\u4e1c\u4eac"]


def slow_places(entries, text):
    """Every entry tried at every position."""
    result = {}
    for entry in entries:
        pieces = caseless(entry)
        places = [at for at in range(len(text)) if pieces and text[at : at + len(pieces)] == pieces]
        if places:
            result.setdefault(" ".join(pieces), places)
    return result


entries = st.lists(st.text("aAb \u00e9\u4e2d'-", max_size=4), max_size=8)


@given(entries, st.text("aAb \u00e9\u4e2d'-", max_size=20))
def test_places_are_those_of_a_search_for_every_entry(listed, text):
    text = caseless(text)
    prepared = KeywordList(listed)
    assert prepared.places(text) == slow_places(listed, text)
    assert list(prepared.spelt(prepared.places(text))) == spoken(listed, " ".join(text))


plain = st.lists(st.sampled_from(["Ab", "aB", "c", "d'e", "f-g"]), max_size=6)


@given(plain, st.lists(st.sampled_from(["ab", "c", "d'e", "f"]), max_size=6))
def test_lists_of_plain_words_keep_order_and_first_spelling(listed, text):
    prepared, first = KeywordList(listed), {}
    for entry in listed:
        first.setdefault(entry.lower(), entry)
    assert len(prepared) == len(first)
    expected = [first[keyword] for keyword in first if keyword in text]
    assert list(prepared.spelt(prepared.places(text))) == expected
    assert prepared.spelling == first
    assert list(prepared.spelt(prepared.places(text))) == expected


@given(st.lists(st.text(max_size=5), max_size=5))
def test_a_list_as_it_stands_in_a_file_is_read_as_json_reads_it(listed):
    for text in (json.dumps(listed), json.dumps(listed, ensure_ascii=False), json.dumps(listed, separators=(",", ":"))):
        cell = ListCell.read(text)
        assert cell is None or (list(cell), len(cell)) == (listed, len(listed))


simple = st.lists(st.lists(st.text('ab ,[]"', max_size=4), min_size=1, max_size=4), max_size=4)


@given(simple, st.sampled_from([(), ("[]",), ('["a", "b]',), ('["a", 3, "b"]', '["]'), ('["\u00e9"]',)]))
def test_lists_read_together_are_what_each_of_them_is(lists, more):
    texts = [*map(json.dumps, lists), *more]
    for text, together in zip(texts, ListCell.read_all(texts), strict=True):
        # Of an entry `, ` only `read_all` knows that it is no separator; `read` leaves it to the JSON parser.
        assert together is not None or ListCell.read(text) is None
        assert together is None or (list(together), len(together)) == (json.loads(text), len(json.loads(text)))


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abcd")))
def test_a_surplus_is_said_or_written_more_often(said, written):
    result = surplus(said, written)
    assert {item: times for item, times in result.items() if times > 0} == Counter(said) - Counter(written)
    assert {item: -times for item, times in result.items() if times < 0} == Counter(written) - Counter(said)


# Words that share their first eight letters, and what a text may hold and a list's entry may not.
long = st.sampled_from(["ab", "aB", "c", "d'e", "f-g", "abcdefgh", "abcdefghi", "abcdefghij", "Abcdefgh"])


@given(
    st.lists(st.lists(long, max_size=6), max_size=5), st.lists(long | st.sampled_from(['f"', "[", '"', "\u00e9", ""]))
)
def test_lists_searched_together_hold_what_each_of_them_holds(lists, text):
    text = [word for item in text for word in caseless(item)]
    cells = [ListCell.read(json.dumps(listed)) for listed in lists]
    for listed, result in zip(lists, Vocabulary(set(text)).entries_of(cells), strict=True):
        whole, among = KeywordList(listed), KeywordList.of_words(result)
        assert among.places(text) == whole.places(text)
        assert among.occurrences(text) == whole.occurrences(text)
        assert among.spelt(among.places(text)) == whole.spelt(whole.places(text))


@pytest.mark.parametrize("entry", ["two words", " led", "caf\u00e9", "tab\there", "v\x0bt", "sep\x1crated"])
def test_only_lists_of_single_ascii_words_are_batched(entry):
    cells = [ListCell('["a", "b"]', 2), ListCell(f'["c", "{entry}"]', 2)]
    assert Vocabulary({"a"}).entries_of(cells[:1]) == [{"a": "a"}]
    assert Vocabulary({"a"}).entries_of(cells) is None


@given(entries, st.text("aAb \u00e9\u4e2d'-", max_size=20))
def test_occurrences_are_as_many_as_places(listed, text):
    prepared, text = KeywordList(listed), caseless(text)
    assert Counter(prepared.occurrences(text)) == {keyword: len(at) for keyword, at in prepared.places(text).items()}


@pytest.mark.parametrize(
    "text", ['["a", 3]', '["a"; "b"]', '["a", "b]', '["a" "b"]', '["a\\n"]', "a", '"a"', "[ ]", "", '["]']
)
def test_what_is_no_simple_list_is_left_to_the_json_parser(text):
    assert ListCell.read(text) is None


@given(
    st.lists(st.text("aAb\u00e9\u00df'-", min_size=1, max_size=3), max_size=6),
    st.text("aAb\u00e9\u00df '-", max_size=20),
)
def test_the_manifest_finds_the_same_keywords_as_the_scores(listed, text):
    utterance = Utterance(id="u", audio="u.wav", duration=1.0, text=f"a {text}", keywords=listed)
    assert spoken(utterance.keywords, utterance.text) == spoken_in_manifest(utterance)


def test_a_list_of_100000_entries_finds_its_words_and_phrases():
    listed = KeywordList([f"word{number}" for number in range(100_000)] + ["the last phrase"])
    text = ["word7", "the", "last", "phrase", "word99999"] * 4
    assert listed.spelt(listed.places(text)) == ("word7", "word99999", "the last phrase")


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_a_perfect_transcript_misses_and_invents_nothing(words, keywords):
    listed = [*keywords, *(" ".join(pair) for pair in zip(keywords, keywords[1:], strict=False))]
    text = " ".join(words)
    counted = counts(listed, text, text)
    assert (counted.fp, counted.fn) == (0, 0)
    assert bool(counted.tp) == bool(spoken(listed, text))
