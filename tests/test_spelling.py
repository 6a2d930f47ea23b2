"""Keywords folded for a base of lower-case words, and restoration of the list's spelling in its text."""

import doctest
import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sap2.spelling as spelling
from sap2.spelling import AS_GIVEN, FOLDED, FOLDED_POSSESSIVE, ReadList, forms, occurrences, outermost

# Keyword in the list, forms that the base reads, text of the base, and transcript.
WRITTEN = [
    ("Kathryn Meyer", ["kathryn meyer"], "ask kathryn meyer now", "ask Kathryn Meyer now"),
    ("MEYER", ["meyer"], "meyer meyers meyer", "MEYER meyers MEYER"),
    ("Pymtrüs", ["pymtrus"], "of pymtrus", "of Pymtrüs"),
    ("Müller", ["muller"], "by müller and muller", "by Müller and Müller"),
    ("Søren Łukasz Æbler Weiß", ["soren lukasz aebler weiss"], "soren lukasz aebler weiss", "Søren Łukasz Æbler Weiß"),
    ("Meyer's", ["meyer"], "meyer and meyer's", "Meyer and Meyer's"),
    ("Meyer’s", ["meyer"], "meyer's talk", "Meyer's talk"),
    ("James'", ["james"], "ask james", "ask James"),
    ("O’Reilly", ["o'reilly"], "o'reilly and oreilly's", "O’Reilly and O’Reilly's"),
    ("Jean-Luc", ["jean luc", "jeanluc"], "jean luc or jeanluc", "Jean-Luc or Jean-Luc"),
    ("X‑vectors", ["x vectors", "xvectors"], "two x vectors", "two X‑vectors"),
    ("state-of-the-art", ["state of the art"], "the state of the art", "the state-of-the-art"),
    ('"Gotram"', ["gotram"], "of gotram", "of Gotram"),
    ("“Gotram”", ["gotram"], "of gotram", "of Gotram"),
    ("Dr. Meyer", ["meyer"], "meyer or doctor meyer or dr meyer", "Meyer or Dr. Meyer or Dr. Meyer"),
    ("Prof. Dr. Ho", ["ho"], "professor doctor ho and doctor ho", "Prof. Dr. Ho and Dr. Ho"),
    ("Doctor Who", ["doctor who"], "who is doctor who", "who is Doctor Who"),
    ("GPT-4", ["gpt four"], "gpt four beats gpt fourteen", "GPT-4 beats gpt fourteen"),
    ("C++", ["c plus plus"], "in c plus plus or c", "in C++ or c"),
    ("C#", ["c sharp"], "in c sharp", "in C#"),
    ("AT&T", ["at and t"], "of at and t", "of AT&T"),
    ("Node.js", ["node js"], "a node js server", "a Node.js server"),
    ("GPT-3.5", ["gpt three point five"], "gpt three point five", "GPT-3.5"),
    ("Boeing 747", ["boeing seven forty seven"], "a boeing seven forty seven", "a Boeing 747"),
    ("東京", ["東京"], "in 東京 now", "in 東京 now"),
    ("Ольга", ["ольга"], "с ольга", "с Ольга"),
    ("—", ["—"], "a — b", "a — b"),
]


def test_examples_in_docstrings_run():
    assert doctest.testmod(spelling).failed == 0


@pytest.mark.parametrize(("keyword", "read", "heard", "text"), WRITTEN, ids=[row[0] for row in WRITTEN])
def test_a_keyword_is_read_folded_and_written_as_listed(keyword, read, heard, text):
    listed = ReadList([keyword], FOLDED)
    assert listed.read == read
    assert listed.restored(heard, listed.read) == text
    assert listed.given(read[:1]) == [keyword] and listed.scores({read[0]: -1.0}) == {keyword: -1.0}


@pytest.mark.parametrize("keyword", ["Pymtrüs", "Søren", "Ångström", "Ольга Йован", "が"])
def test_composed_and_decomposed_accents_are_read_alike(keyword):
    apart = unicodedata.normalize("NFD", keyword)
    assert ReadList([apart], FOLDED).read == ReadList([keyword], FOLDED).read
    assert ReadList([apart], AS_GIVEN).read == [keyword]
    assert list(occurrences(f"ask {apart}!", dict([forms(keyword)[-1]]))) == [(4, 4 + len(apart), keyword)]


def test_entries_that_read_alike_share_a_reading_and_its_score():
    listed = ReadList(["GPT 4", "Meyer", "meyer", "GPT-4", "Meyer"], FOLDED)
    assert listed.read == ["gpt four", "meyer"]
    assert listed.scores({"meyer": -0.5}) == {"Meyer": -0.5, "meyer": -0.5}
    assert listed.given(["gpt four"]) == ["GPT 4", "GPT-4"]
    assert listed.restored("meyer on gpt four", listed.read) == "Meyer on GPT 4"


def test_a_possessive_beside_its_name_is_a_keyword_of_its_own():
    listed = ReadList(["Meyer", "Meyer's"], FOLDED)
    assert listed.read == ["meyer", "meyer's"]
    assert listed.given(["meyer"]) == ["Meyer"]
    assert listed.restored("meyer's talk", ["meyer's"]) == "Meyer's talk"


def test_a_base_that_knows_possessives_reads_them():
    listed = ReadList(["Redman’s", "Brandon"], FOLDED_POSSESSIVE)
    assert listed.read == ["redman's", "brandon"]
    assert listed.given(["redman's"]) == ["Redman’s"]
    assert listed.restored("at redman's farm with brandon", listed.read) == "at Redman's farm with Brandon"


@pytest.mark.parametrize(
    ("keyword", "written"),
    [("the'", "the"), ("Students'", "Students"), ("'Kathryn'", "Kathryn"), ("‘Kathryn Meyer’", "Kathryn Meyer"),
     ("goin'", "goin'"), ("'em", "'em"), ("Rock 'n' Roll", "Rock 'n' Roll")],
)  # fmt: skip
def test_a_closing_apostrophe_of_a_list_is_not_written(keyword, written):
    """Word lists of books hold "said'", where a quotation ended."""
    listed = ReadList([keyword], FOLDED_POSSESSIVE)
    assert listed.restored(f"so {listed.read[0]} it is", listed.read) == f"so {written} it is"


def test_only_the_keywords_given_are_restored():
    listed = ReadList(["Will", "Meyer"], FOLDED)
    assert listed.restored("will meyer come", ["meyer"]) == "will Meyer come"


def test_the_longest_keyword_wins_and_none_is_cut():
    listed = ReadList(["York", "New York", "Ann"], FOLDED)
    assert listed.restored("new york or york anna x-ann", listed.read) == "New York or York anna x-ann"


def test_a_joined_form_never_replaces_another_keyword():
    listed = ReadList(["Jean-Luc", "JeanLuc"], FOLDED)
    assert listed.restored("jean luc and jeanluc", listed.read) == "Jean-Luc and JeanLuc"


def test_as_given_changes_neither_list_nor_text():
    words = ["Dr. Meyer", "GPT-4", "Meyer's"]
    listed = ReadList(words, AS_GIVEN)
    assert listed.read == words and listed.restored("meyer on gpt four", words) == "meyer on gpt four"


def test_occurrences_may_overlap_and_outermost_do_not():
    result = list(occurrences("New York's Yorkers", {("york",): 1, ("new", "york"): 2}))
    assert result == [(0, 8, 2), (4, 8, 1)]
    assert list(outermost(result)) == [(0, 8, 2)]


WORDS = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=9), max_size=8)


@given(WORDS, WORDS)
def test_lists_of_lower_case_words_change_nothing(keywords, words):
    listed, text = ReadList(keywords, FOLDED), " ".join(words)
    assert listed.read == list(dict.fromkeys(keywords))
    assert listed.restored(text, listed.read) == text


@given(st.lists(st.text(min_size=1), max_size=5), st.text())
def test_any_list_can_be_read_and_any_text_restored(keywords, text):
    listed = ReadList(keywords, FOLDED)
    assert listed.given(listed.read) == list(dict.fromkeys(keywords))
    assert isinstance(listed.restored(text, listed.read), str)


@given(WORDS, st.sampled_from([str.title, str.upper, str.capitalize]))
def test_the_case_of_a_list_never_changes_what_is_read(keywords, cased):
    assert ReadList(map(cased, keywords), FOLDED).read == ReadList(keywords, FOLDED).read
