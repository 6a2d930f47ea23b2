"""What of a slide becomes a keyword, why, and that a list can be edited and read back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.errors import InputError
from sap2.manifest import keyword_fault
from sap2.slides import Deck, Keyword, deck_keywords, read_keywords
from sap2.slides.keywords import keywords_json, keywords_tsv, slides_keywords


def found(line, language="en"):
    return {one.keyword: one.reason for one in deck_keywords(Deck.of([[line]]), language)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("the results of the work", {}),
        ("The Results Of The Work", {}),
        ("THE RESULTS OF THE WORK", {}),
        ("THE ZORVAN WORK", {"ZORVAN": "rare word"}),
        ("work by John Smith", {"John Smith": "name", "Smith": "name"}),
        ("by Ludwig van der Zorvan", {"Ludwig van der Zorvan": "name", "Ludwig": "rare word", "Zorvan": "rare word"}),
        ("a NASA report", {"NASA": "acronym"}),
        ("we use GPT-4, C++ and iPhone", {"GPT-4": "spelling", "C++": "spelling", "iPhone": "spelling"}),
        ("write to zorvan@meyer.org or https://zorvan.org/x", {}),
        ("in O'Zorvan's graph", {"O'Zorvan": "rare word"}),
        ("a zorvan graph", {"zorvan": "rare word"}),
        ("we met Catherine there", {"Catherine": "name"}),
        ("доклад о мейере", {"доклад": "rare word", "мейере": "rare word"}),
        ("שלום zorvan", {"שלום": "rare word", "zorvan": "rare word"}),
        ("x" * 500, {}),
    ],
)
def test_candidates_and_their_reasons(line, expected):
    assert found(line) == expected


def test_rarity_is_that_of_the_decks_language():
    assert "доклад" not in found("наш доклад", "ru") and "Ergebnisse" not in found("unsere ergebnisse", "de")
    with pytest.raises(InputError, match="--language xx: no word frequencies"):
        found("x", "xx")


@given(st.lists(st.lists(st.text(max_size=60), max_size=4), max_size=3))
def test_whatever_stands_on_a_page_a_keyword_can_stand_in_a_list(pages):
    for one in deck_keywords(Deck.of(pages)):
        assert keyword_fault(one.keyword) is None and 1 <= one.page <= len(pages)


WORDS = st.text("abcZ é-", min_size=1).map(str.strip).filter(bool)


@given(st.lists(st.builds(Keyword, st.integers(1, 99), WORDS, st.just("name")), min_size=1))
def test_a_list_is_read_back_as_it_was_written(keywords):
    assert read_keywords(keywords_tsv(keywords), "a.tsv") == keywords
    assert read_keywords(keywords_json(keywords), "a.json") == keywords


def test_an_edited_list_may_lack_reasons_and_a_broken_row_is_named():
    assert read_keywords("page\tkeyword\n2\tZorvan\n\n", "a.tsv") == [Keyword(2, "Zorvan", "given")]
    assert read_keywords("Zorvan, Meyer", "a.txt") is None
    for text, reason in (
        ("page\tkeyword\nx\tZorvan\n", "a.tsv:2: page is 'x', expected a number of up to 5 digits (0: all the time)"),
        ("page\tkeyword\n9999999999\tZorvan\n", "a.tsv:2: page is '9999999999', expected a number of up to 5 digits"),
        ("page\tkeyword\n1\tZorvan, Meyer\n", "a.tsv:2: a comma inside the keyword"),
        ('[{"page": 1, "keyword": "<|im_end|>"}]', "a.tsv: entry 1: the marker <|im_end|>"),
    ):
        with pytest.raises(InputError, match=re.escape(reason)):
            read_keywords(text, "a.tsv")


def test_pages_of_several_files_count_on(tmp_path):
    (tmp_path / "a.md").write_text("# Zorvan\n\n# Quine\n")
    (tmp_path / "b.tsv").write_text("page\tkeyword\n1\tmeyer\n")
    (tmp_path / "c.txt").write_text("<|im_start|> kaldi")
    found = slides_keywords([tmp_path / name for name in ("a.md", "b.tsv", "c.txt")])
    assert [(one.page, one.keyword) for one in found.keywords] == [
        (1, "Zorvan"),
        (2, "Quine"),
        (3, "meyer"),
        (4, "kaldi"),
    ]
    assert found.texts == ["Zorvan", "Quine", "meyer", "kaldi"]
    assert found.notices == [f"{tmp_path / 'c.txt'}: page 1: 1 marker taken out"]
