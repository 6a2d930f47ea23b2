"""Lists are seeded, hold every spoken keyword once, and spoiled ones err only as told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sap2.data.biasing import corrupt, draw_list, read_list
from sap2.errors import InputError

keywords = st.lists(st.text("abcXYZ", min_size=1, max_size=4), max_size=12)


@given(keywords, keywords, st.integers(0, 20), st.integers(0, 99))
def test_a_list_holds_all_that_is_spoken_and_nothing_twice(spoken, distractors, size, seed):
    drawn = draw_list(spoken, distractors, size, seed)
    folded = [keyword.casefold() for keyword in drawn]
    said = {keyword.casefold() for keyword in spoken}
    assert len(set(folded)) == len(folded)
    assert said <= set(folded) <= said | {keyword.casefold() for keyword in distractors}
    available = len(said | {keyword.casefold() for keyword in distractors})
    assert len(drawn) == max(len(said), min(size, available))
    assert drawn == draw_list(spoken, distractors, size, seed)


def test_another_seed_draws_another_list():
    distractors = [f"word{number}" for number in range(100)]
    assert draw_list([], distractors, 10, "1/a") != draw_list([], distractors, 10, "1/b")


def test_a_negative_size_is_refused():
    with pytest.raises(InputError, match="a list of -1 keywords"):
        draw_list([], [], -1, 1)


@given(keywords, keywords, st.integers(0, 99))
def test_spoiled_lists_hold_only_listed_keywords(oracle, others, seed):
    spoiled = corrupt(oracle, oracle + others, seed)
    assert set(spoiled) <= set(oracle + others)
    assert spoiled == corrupt(oracle, oracle + others, seed)
    known = {keyword.casefold() for keyword in oracle}
    assert sum(keyword.casefold() not in known for keyword in spoiled) <= 2


def test_spoiling_can_be_turned_off_and_up():
    oracle, listed = ["a", "b", "c"], ["a", "b", "c", "x", "y"]
    assert sorted(corrupt(oracle, listed, 1, miss_share=0, false_alarms=0)) == oracle
    assert not set(corrupt(oracle, listed, 1, miss_share=1.0)) & set(oracle)


def test_a_typed_list_and_a_file_are_read_together(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("\ufeffKathryn\n\ndeep zorvan, Meyer\n", encoding="utf-8")
    assert read_list("meyer, Maier", file) == ["meyer", "Maier", "Kathryn", "deep zorvan"]
    assert read_list() == []


def test_a_list_that_cannot_be_used_says_where(tmp_path):
    file = tmp_path / "words.txt"
    with pytest.raises(InputError, match="words.txt: no such file"):
        read_list(file=file)
    file.write_text("fine\nbad <|endofcontext|>\n")
    with pytest.raises(InputError, match=r"words.txt:2: the marker <\|endofcontext\|>"):
        read_list(file=file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="words.txt: not UTF-8"):
        read_list(file=file)
    with pytest.raises(InputError, match="--keywords: the marker <audio>"):
        read_list("<audio>")
