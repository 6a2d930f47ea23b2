"""The benchmark of slides counts keywords by their marks, and its page agrees with its records."""

import json
import runpy
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "slides"


@pytest.fixture(scope="module")
def module():
    return runpy.run_path(str(BENCHMARK / "run.py"))


def test_keywords_are_counted_by_their_marks(module):
    persons = dict.fromkeys(["kathryn zorvan", "qaylen brestovic"], "person")
    gold = persons | {"kaldi": "name", "dns": "term", "report": "harmless"}
    every = ["Kathryn  Zorvan", "DNS", "report", "xq", "Kaldi"]
    deck = module["measure"]("a.pdf", gold, every, every[:4], 1.0, 2.0)
    assert (deck.first, deck.useful, deck.harmless, deck.junk, deck.unmarked) == (4, 2, 1, 1, ("xq",))
    assert (deck.persons_kept, deck.persons, deck.names_kept, deck.names, deck.names_first) == (1, 2, 2, 3, 1)
    assert module["row"](deck) == "| a.pdf | 5 | 50 % | 25 % | 25 % | 1 of 3 | 2 of 3 | 1 of 2 | 1.0 | 2 |"
    both = module["total"]([deck, deck])
    assert (both.first, both.junk, both.names, both.seconds, both.megabytes) == (8, 2, 6, 1.0, 2.0)


def test_every_gold_keyword_has_a_known_mark(module):
    gold = module["read_gold"]()
    assert len(gold) == 12
    assert sum(mark == "person" for marks in gold.values() for mark in marks.values()) >= 38


def test_the_command_is_measured_on_a_deck(module, tmp_path):
    (tmp_path / "a.txt").write_text("by Kathryn Zorvan, of Kaldi")
    words, seconds, megabytes = module["keywords"](tmp_path / "a.txt", BENCHMARK.parents[1], "--max-keywords", "2")
    assert words == ["Kathryn Zorvan", "Kaldi"] and seconds > 0 and megabytes > 10


@pytest.mark.parametrize("name", ["before", "after"])
def test_the_readme_agrees_with_the_record(module, name):
    record = json.loads((BENCHMARK / "records" / f"{name}.json").read_text(encoding="utf-8"))
    readme = (BENCHMARK / "README.md").read_text(encoding="utf-8")
    for deck in (*record["decks"], record["all"]):
        assert module["row"](module["Measured"](**deck)) in readme
