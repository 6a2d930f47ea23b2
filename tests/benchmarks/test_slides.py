"""The benchmark of slides counts as it says, and its page says what its records say."""

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
    one = module["measure"]("a.pdf", gold, every, every[:4], 1.0, 2.0)
    assert (one.first, one.useful, one.harmless, one.junk, one.unmarked) == (4, 2, 1, 1, ("xq",))
    assert (one.persons_kept, one.persons, one.names_kept, one.names, one.names_first) == (1, 2, 2, 3, 1)
    assert module["row"](one) == "| a.pdf | 5 | 50 % | 25 % | 25 % | 1 of 3 | 2 of 3 | 1 of 2 | 1.0 | 2 |"
    both = module["total"]([one, one])
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
def test_readme_says_what_the_record_says(module, name):
    record = json.loads((BENCHMARK / "records" / f"{name}.json").read_text(encoding="utf-8"))
    readme = (BENCHMARK / "README.md").read_text(encoding="utf-8")
    for one in (*record["decks"], record["all"]):
        assert module["row"](module["Measured"](**one)) in readme
