"""The prefilter's recall is of what the recogniser keeps, and its record of the base that the package holds."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from fake_stage import FakeStage

from sap2.files import sha256
from sap2.inference.index import KeywordIndex
from sap2.inference.prefilter import cut
from sap2.settings import Prefilter
from sap2.training.shapes import EMBEDDED

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "prefilter"


@pytest.fixture
def recall(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARK)
    return runpy.run_path(str(BENCHMARK / "recall.py"))


@pytest.mark.parametrize("name", ["recall", "keys", "spotting", "spotting_dev"])
def test_records_are_of_the_embedded_base(name):
    record = json.loads((BENCHMARK / "records" / f"{name}.json").read_text(encoding="utf-8"))
    assert record["weights"]["base"] == sha256(EMBEDDED / "model.safetensors"), (
        f"{record['command']} is to be run again"
    )


def test_readme_says_what_the_record_says():
    record = json.loads((BENCHMARK / "records" / "recall.json").read_text(encoding="utf-8"))
    readme = (BENCHMARK / "README.md").read_text(encoding="utf-8")
    for row in record["rows"]:
        assert f"| {row['names']:,} | " + " | ".join(f"{share:.3f}" for share in row["recall"].values()) in readme
    keys = json.loads((BENCHMARK / "records" / "keys.json").read_text(encoding="utf-8"))
    for name in ("spotting", "spotting_dev", "spotting_people", "spotting_people_phonemes"):
        for row in json.loads((BENCHMARK / "records" / f"{name}.json").read_text(encoding="utf-8"))["rows"]:
            assert f"| {row['names']:,} | " + " | ".join(f"{share:.3f}" for share in row["recall"].values()) in readme
    plain = readme.replace("**", "")
    for row in keys["rows"]:
        assert f"| {row['compared']} | " + " | ".join(f"{share:.3f}" for share in row["recall"].values()) in plain


def test_recall_is_of_what_the_recogniser_keeps(recall):
    texts = ["the cathrin graph", "we thank my er"]
    said = [["kathryn"], ["maier", "zorvan"]]
    words = recall["glossary"](said, 40)
    found = recall["recalls"](texts, said, words, [20, 5, 1])
    for keep, share in found.items():
        index, settings = KeywordIndex(words, FakeStage().vocabulary), Prefilter(method="phonetic", keep=keep)
        kept = cut(settings, [index, index], pytest.fail, lambda rows: [texts[row] for row in rows])
        assert share == round(np.mean([w in k for one, k in zip(said, kept, strict=True) for w in one]), 4)
    assert 0 < found[5] < 1


def test_ranks_of_spotting_count_equals_in_list_order(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARK)
    spotting = runpy.run_path(str(BENCHMARK / "spotting.py"))
    scores, words = [np.array([1.0, 3.0, 3.0, 2.0])], ["a", "b", "c", "d"]
    assert spotting["recall"](scores, words, [["c"]], [1, 2]) == {1: 0.0, 2: 1.0}
    assert spotting["recall"](scores, words, [["b", "d"]], [1, 3]) == {1: 0.5, 3: 1.0}


def test_place_of_a_name_in_the_list_says_nothing_about_it_being_said(recall):
    said = [[f"said{number}"] for number in range(50)]
    words = recall["glossary"](said, 500)
    places = [words.index(word) for one in said for word in one]
    assert len(set(words)) == 500 and 150 < np.mean(places) < 350
    with pytest.raises(SystemExit, match="50 names are said, the list has 10"):
        recall["glossary"](said, 10)


def test_keys_order_as_the_prefilter_does(recall):
    keys = runpy.run_path(str(BENCHMARK / "keys.py"))
    said = [["kathryn"], ["maier", "zorvan"]]
    texts, words = ["the cathrin graph", "we thank my er"], recall["glossary"](said, 40)
    places = keys["ranks"](texts, said, words, keys["COMPARED"]["letters + Metaphone"])
    for keep in (1, 5, 20):
        assert recall["recalls"](texts, said, words, [keep])[keep] == round(float(np.mean(places < keep)), 4)
