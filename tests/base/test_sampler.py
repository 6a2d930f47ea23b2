"""Examples of the base's training: new spellings and lists each time, keywords marked correctly, no held-out name."""

import numpy as np
import pytest

from sap2 import prompts
from sap2.base.corpus import Item
from sap2.base.lexicon import Lexicon, plain, respell
from sap2.base.sampler import Sampler
from sap2.data.lectures import COMMON_WORDS, draw_sentence
from sap2.data.names import FAMILIES, split_of
from sap2.data.real_names import REAL_NAMES

TEXT = "ask kathryn about prognostications by the stranger"


@pytest.fixture(scope="module")
def sampler():
    common = ["ask", "about", "by", "the"]
    listed = ["kathryn", "prognostications", "stranger", "katherine", "brestovic", "anna weiler"]
    words = {word for entry in [*listed, *common] for word in entry.split()}
    return Sampler(Lexicon(common, {word: tuple(word) for word in words}, listed), REAL_NAMES, sounds=200)


def recording(text=TEXT, sentence=None):
    return Item("speech", 0, 16_000, text, sentence)


def test_each_spoken_keyword_is_written_in_the_text(sampler):
    rng = np.random.default_rng(0)
    for _ in range(300):
        example = sampler.example(recording(), 6, rng, str(rng.choice(["none", "list", "select"])))
        for keyword in example.keywords:
            assert keyword.spoken == (f" {keyword.text} " in f" {example.text} ")
        if example.prompt == prompts.pruning_prompt():
            assert example.target == prompts.pruning_target([k.text for k in example.keywords if k.spoken])
        else:
            assert example.target == example.text


def test_spelling_and_list_change_from_time_to_time(sampler):
    rng = np.random.default_rng(0)
    examples = [sampler.example(recording(), 6, rng, "list") for _ in range(100)]
    assert len({example.text for example in examples}) > 5
    assert all(sampler.example(recording(), 6, rng, "none").text == TEXT for _ in range(20))


def test_common_words_are_rarely_listed(sampler):
    rng = np.random.default_rng(0)
    lists = [sampler.example(recording(), 6, rng, "list").keywords for _ in range(200)]
    listed = sum(any(keyword.text == "about" for keyword in keywords) for keywords in lists)
    assert 0 < listed < 30


def test_no_name_of_the_lectures_dev_and_test_is_drawn(sampler):
    rng = np.random.default_rng(0)
    for _ in range(100):
        sentence = draw_sentence("train", rng)
        example = sampler.listing(recording(sentence.fill(["x"] * len(sentence.sounds)), sentence), 10, rng)
        assert sum(keyword.spoken for keyword in example.keywords) <= len(sentence.sounds)
    assert all(split_of(sound.key) == "train" for sound in sampler._sounds if sound.units)


def test_real_names_are_none_of_the_lectures():
    assert not set(REAL_NAMES) & {name for family in FAMILIES for name in family}
    assert len(set(REAL_NAMES)) == len(REAL_NAMES) and not set(REAL_NAMES) & COMMON_WORDS


def test_plain_words_have_no_marks_digits_or_capitals():
    assert plain("Zoë’s R&D — well-known") == "zoe's r and d well known"
    assert plain("in 1984") is None and plain("Привет") is None


def test_a_respelling_differs_and_stays_a_word():
    rng = np.random.default_rng(0)
    spellings = {respell("kathryn", rng) for _ in range(50)}
    assert len(spellings) > 5 and all(plain(word) == word for word in spellings)
