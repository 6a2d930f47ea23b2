"""Normalisers: what they change, and what they do not."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.errors import InputError, ParamsError
from sap2.evaluation.normalise import NORMALISERS, _whisper_english, folded, normalise, normaliser_of, words


def test_none_changes_nothing():
    assert normalise("  Well, O'Neil — ", "none") == "  Well, O'Neil — "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("don't 'quote' the students'", "don't quote the students"),
        ("O\u2019Neil", "o'neil"),
        ("well-known (twice)", "well known twice"),
        ("snake_case and C++ cost $5", "snake case and c++ cost $5"),
        ("Ünïted ÉCOLE", "ünïted école"),
        ("e\u0301cole", "école"),
        ("हिन्दी।", "हिन्दी"),
        ("…", ""),
        ("", ""),
    ],
)
def test_basic_lowers_and_strips_punctuation_outside_words(text, expected):
    assert normalise(text, "basic") == expected


@given(st.text())
def test_basic_is_settled_after_once(text):
    once = normalise(text, "basic")
    assert normalise(once, "basic") == once


def test_normalisers_are_described_and_unknown_names_refused():
    assert all(NORMALISERS.values())
    with pytest.raises(
        ParamsError, match=r"evaluation\.normaliser: got 'whisper', expected one of: none, basic, whisper-en"
    ):
        normalise("a", "whisper")


def test_whisper_english_is_openai_s():
    pytest.importorskip("whisper_normalizer", reason="whisper-normalizer holds the rules and spellings")
    assert normalise("Mr. Neil won't pay twenty-one dollars, um, for the colour [laughs]", "whisper-en") == (
        "mister neil will not pay $21 for the color"
    )


def test_whisper_english_names_its_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    _whisper_english.cache_clear()
    with pytest.raises(InputError, match="pip install whisper-normalizer"):
        normaliser_of("whisper-en")
    _whisper_english.cache_clear()


def test_words_are_separated_by_white_space():
    assert words("  see\tyou\u3000at New-York's\n") == ["see", "you", "at", "New-York's"]
    assert words("") == words(" \n") == []


def test_composed_and_decomposed_accents_are_the_same_word():
    assert words("e\u0301cole") == words("\u00e9cole") == ["\u00e9cole"]


def test_only_chinese_characters_and_kana_are_single_words():
    assert words("\u6211\u7231 NLP\u6280\u672f") == ["\u6211", "\u7231", "NLP", "\u6280", "\u672f"]
    assert words("\u30ab\u3099\u30ae") == ["\u30ac", "\u30ae"]
    assert words("\ud55c\uad6d\uc5b4 \uc74c\uc131") == ["\ud55c\uad6d\uc5b4", "\uc74c\uc131"]
    assert words("\U00020000\U00020001") == ["\U00020000", "\U00020001"]


@given(st.text())
def test_words_joined_are_the_same_words_again(text):
    assert words(" ".join(words(text))) == words(text)


@given(st.text())
def test_folding_is_settled_after_once_and_makes_no_new_words(text):
    for word in words(text):
        assert folded(folded(word)) == folded(word)
        assert len(folded(word).split()) == 1
