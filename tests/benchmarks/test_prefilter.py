"""The benchmark measures the keywords that the prefilter keeps; its records belong to the package's base."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_stage import FakeStage

from sap2.constants import EMBEDDED
from sap2.evaluation import score
from sap2.files import sha256
from sap2.inference.index import KeywordIndex
from sap2.inference.prefilter import cut
from sap2.settings import Prefilter

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "prefilter"


@pytest.fixture
def recall(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARK)
    return runpy.run_path(str(BENCHMARK / "recall.py"))


@pytest.mark.parametrize("name", ["recall", "keys", "spotting", "spotting_dev"])
def test_records_belong_to_the_embedded_base(name):
    record = json.loads((BENCHMARK / "records" / f"{name}.json").read_text(encoding="utf-8"))
    assert record["weights"]["base"] == sha256(EMBEDDED / "model.safetensors"), f"run {record['command']} again"


def test_the_readme_agrees_with_the_records():
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


def test_recall_is_measured_on_the_keywords_that_are_kept(recall):
    texts = ["the cathrin graph", "we thank my er"]
    spoken = [["kathryn"], ["maier", "zorvan"]]
    words = recall["glossary"](spoken, 40)
    shares = recall["recalls"](texts, spoken, words, [20, 5, 1])
    for keep, share in shares.items():
        index, settings = KeywordIndex(words, FakeStage().vocabulary), Prefilter(method="phonetic", keep=keep)
        kept = cut(settings, [index, index], pytest.fail, lambda rows: [texts[row] for row in rows])
        assert share == round(np.mean([w in k for names, k in zip(spoken, kept, strict=True) for w in names]), 4)
    assert 0 < shares[5] < 1


def test_ties_in_spotting_scores_keep_the_lists_order(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARK)
    spotting = runpy.run_path(str(BENCHMARK / "spotting.py"))
    scores, words = [np.array([1.0, 3.0, 3.0, 2.0])], ["a", "b", "c", "d"]
    assert spotting["recall"](scores, words, [["c"]], [1, 2]) == {1: 0.0, 2: 1.0}
    assert spotting["recall"](scores, words, [["b", "d"]], [1, 3]) == {1: 0.5, 3: 1.0}


def test_spoken_names_are_spread_evenly_over_the_list(recall):
    spoken = [[f"name{number}"] for number in range(50)]
    words = recall["glossary"](spoken, 500)
    positions = [words.index(word) for names in spoken for word in names]
    assert len(set(words)) == 500 and 150 < np.mean(positions) < 350
    with pytest.raises(SystemExit, match="50 names are spoken, but the list has 10"):
        recall["glossary"](spoken, 10)


def test_keys_rank_as_the_prefilter_does(recall):
    keys = runpy.run_path(str(BENCHMARK / "keys.py"))
    spoken = [["kathryn"], ["maier", "zorvan"]]
    texts, words = ["the cathrin graph", "we thank my er"], recall["glossary"](spoken, 40)
    ranks = keys["ranks"](texts, spoken, words, keys["COMPARED"]["letters + Metaphone"])
    for keep in (1, 5, 20):
        assert recall["recalls"](texts, spoken, words, [keep])[keep] == round(float(np.mean(ranks < keep)), 4)


@pytest.fixture
def curve(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARK)
    yield runpy.run_path(str(BENCHMARK / "curve.py"))
    sys.modules.pop("run", None)  # benchmarks/serving; other benchmarks also have a module of this name


@pytest.fixture
def rows(curve):
    return curve["Utterances"]([], ["we thank kathryn", "maier and zorvan"], [["kathryn"], ["maier", "zorvan"]])


def test_only_long_lists_are_shared_by_utterances(curve, rows):
    arguments = SimpleNamespace(words=None)
    own, shared = (curve["lists_of"](arguments, rows, size) for size in (30, 10_000))
    for words, spoken in zip(own, rows.spoken, strict=True):
        assert len(words) == len(set(words)) == 30 and set(spoken) <= set(words)
    assert own[0] != own[1] and own == curve["lists_of"](arguments, rows, 30)
    assert shared[0] is shared[1] and len(shared[0]) == 10_000 and {"kathryn", "maier", "zorvan"} <= set(shared[0])


def test_figures_of_a_curve_equal_those_of_the_full_lists(curve, rows):
    words = ["dorst", "kathryn", "maier", "quine", "zorvan"]
    texts = ["we thank cathrin dorst", "maier and zorvan"]
    figures = curve["scored"](rows, texts, [KeywordIndex(words, FakeStage().vocabulary)] * 2)
    expected = score(
        dict(zip("ab", rows.texts, strict=True)), dict(zip("ab", texts, strict=True)), dict.fromkeys("ab", words),
        samples=0,
    ).systems[0].figures  # fmt: skip
    assert figures == {name: round(expected[name].value, 4) for name in curve["FIGURES"]}
    assert figures["false_alarms_per_100"] == 50.0 and figures["keyword_recall"] == round(2 / 3, 4)


def test_a_request_names_its_index(curve):
    content, kind = curve["body"](b"RIFF", {"index": "glossary"}, "a.wav")
    assert b'name="file"; filename="a.wav"\r\n\r\nRIFF\r\n' in content and kind.startswith("multipart/form-data")
    assert b'name="index"\r\n\r\nglossary\r\n' in content and b"keywords" not in content
