"""The ablation's grid, and a small complete ablation: corpora, trainings, tests, page."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from trees import librispeech

from experiments.grid import load_grid
from experiments.picture import draw, shares
from experiments.relevance import frame_scores, pooled
from experiments.report import summarise, write_page
from experiments.run import corpus, train, with_lists
from experiments.run import test as run_test
from experiments.weights import Observations, fit
from sap2.constants import EMBEDDED
from sap2.errors import ParamsError
from sap2.inference import load_pruner
from sap2.manifest import Utterance, read_manifest, spoken
from sap2.settings import FirstPassWeights, PrunerSettings

ROOT = Path(__file__).parents[2]
GRID = ROOT / "experiments" / "grid.yaml"
PEOPLE = ROOT / "experiments" / "people" / "grid.yaml"


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def written(folder: Path, **changes) -> Path:
    path = folder / "grid.yaml"
    content = yaml.safe_load(GRID.read_text(encoding="utf-8")) | changes
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", [GRID, PEOPLE])
def test_every_training_of_the_grid_has_params_the_project_takes(path):
    grid = load_grid(path)
    assert len(grid.runs()) == len(grid.main) * len(grid.seeds) + len(grid.more) + len(grid.again)
    for name, seed in grid.runs():
        params = grid.params(f"pruner.seed={seed}", *grid.trainings[name].params)
        assert params.pruner.seed == seed
    for changes in grid.corpora.values() if path == GRID else ():
        assert grid.params(*changes).prepare.test_utterances >= 500
    assert grid.params(*grid.trainings["tpi-mean"].params).model.weighting == "mean"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": []}, "main, more and again must together name each of trainings once"),
        ({"sedes": [1]}, "sedes: Extra inputs are not permitted"),
        ({"sizes": {"of": 200, "lists": [10]}}, r"trainings.tpi.sizes has \[50, 100"),
    ],
)
def test_a_wrong_grid_is_refused_with_its_key(tmp_path, changes, message):
    with pytest.raises(ParamsError, match=message):
        load_grid(written(tmp_path, **changes))


@pytest.mark.parametrize("path", [GRID, PEOPLE])
def test_dvc_makes_a_stage_of_every_training_and_seed(path):
    stages = path.with_name("dvc.yaml").relative_to(ROOT)
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", str(stages), "--name-only"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    made = {stage.rpartition(":")[2] for stage in listed}
    grid = load_grid(path)
    groups = {"": grid.main, "-more": grid.more, "-again": grid.again}
    expected = {
        f"{step}{group}@{name}-{seed}"
        for group, names in groups.items()
        for name, seed in grid.runs()
        for step in ("train", "test")
        if name in names and (step, group) != ("train", "-again")
    }
    assert made == expected | {"corpus"}


@pytest.mark.parametrize("path", [GRID, PEOPLE])
def test_what_is_tested_again_has_the_training_of_the_first(path):
    """Else its models would not be those that its params ask for."""
    grid = load_grid(path)
    for name in grid.again:
        ours, first = (grid.params(*grid.trainings[item].params) for item in (name, grid.main[0]))
        for section in ("model", "lora", "pruner", "recogniser"):
            assert getattr(ours, section) == getattr(first, section)


def test_lists_of_any_length_hold_what_is_said():
    names = ["kaylen", "zorvan", "maier", "meyer"]
    utterances = [
        Utterance(id=str(number), audio="a.flac", duration=1.0, text=f"ask {name} now", keywords=names)
        for number, name in enumerate(names)
    ]
    for size in (1, 2, 4, 30):
        resized = list(with_lists(utterances, size))
        for word, name in zip(resized, names, strict=True):
            assert spoken(word) == [name] and len(word.keywords) == len(set(word.keywords)) == size
    others = [set(utterance.keywords) - set(names) for utterance in with_lists(utterances, 30)]
    assert len(others[0]) == 26 and all(item == others[0] for item in others)


def test_the_page_is_what_the_committed_figures_give(tmp_path):
    grids = [(load_grid(path), json.loads(path.with_name("summary.json").read_text())) for path in (GRID, PEOPLE)]
    write_page(*grids, tmp_path / "page.md", tmp_path)
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == (ROOT / "docs/results.md").read_text(encoding="utf-8")


def test_recordings_of_people_get_lists_and_every_second_is_taken(tmp_path):
    texts = {
        f"1089-134-000{number}": f"THE CAT SAW {name}" for number, name in enumerate(["KAYLEN", "MEYER", "ZORVAN"])
    }
    parts = {"train-clean-5": {"19-198-0000": "THE CAT SAW THE ZORVAN"}, "dev-clean-2": {"84-121-0000": "THE CAT"}}
    root = librispeech(tmp_path / "LibriSpeech", {**parts, "test-clean": texts})
    (tmp_path / "common.txt").write_text("the\ncat\nsaw\n")
    (tmp_path / "rare.txt").write_text("kaylen\nmeyer\nzorvan\nquilt\nmaier\n")
    people = [
        f"prepare.librispeech.root={root}", f"lists.common_words_file={tmp_path}/common.txt",
        f"lists.rare_words_file={tmp_path}/rare.txt", "lists.published=[]", "lists.distractors=3",
    ]  # fmt: skip
    content = yaml.safe_load(PEOPLE.read_text(encoding="utf-8")) | {"corpora": {"people": people}, "every": 2}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    corpus(load_grid(tmp_path / "grid.yaml"), tmp_path)
    tested = read_manifest(tmp_path / "corpora" / "people" / "test.jsonl")
    assert [spoken(utterance) for utterance in tested] == [["kaylen"], ["zorvan"]]
    assert all(len(utterance.keywords) >= 3 for utterance in tested)
    assert all((tmp_path / "corpora" / "people" / utterance.audio).is_file() for utterance in tested)


@pytest.mark.slow  # three trainings
def test_from_the_corpora_to_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    small = {
        "profile": "test",
        "seeds": [1],
        "common": ["pruning.prefilter=20"],
        "corpora": {"slides": [], "alike": ["prepare.hard_share=0.8", "prepare.train_utterances=1"]},
        "sizes": {"of": 3, "lists": [5, 30]},
        "trainings": {
            "tpi": {"says": "two stages", "sizes": [5, 30]},
            "pc": {"says": "the whole list", "params": ["model.method=pc"]},
            "jpi": {"says": "never run", "params": ["model.method=jpi"]},
            "tags": {"says": "tested again", "params": ["pruning.first_pass=null"]},
        },
        "main": ["tpi", "pc", "jpi"],
        "more": [],
        "again": ["tags"],
    }
    grid = load_grid(written(tmp_path, **small))
    corpus(grid, tmp_path)
    assert [len(utterance.keywords) for utterance in read_manifest(tmp_path / "corpora" / "n30.jsonl")] == [30] * 3
    for name in ("tpi", "pc"):
        train(grid, name, 1, tmp_path, EMBEDDED)
        run_test(grid, name, 1, tmp_path, EMBEDDED)
    run_test(grid, "tags", 1, tmp_path, EMBEDDED)

    # Weights with which a model that has learnt nothing tries some keywords.
    settings = PrunerSettings(first_pass={"prior": 9.0})
    pruner = load_pruner(EMBEDDED, tmp_path / "models" / "tpi-1" / "pruner", settings)
    stage = pruner.stage
    utterance = read_manifest(tmp_path / "corpora" / "slides" / "test.jsonl")[0]
    audio = tmp_path / "corpora" / "slides" / utterance.audio
    ids, windows = stage.processor.tokenise_context(["kaylen", "maier zorvan"])
    windows, tokens = np.array(windows), stage.processor.tokenizer.convert_ids_to_tokens(ids)
    scores = frame_scores(pruner, audio, ids)
    assert scores.shape[2] == len(tokens) == len(windows)
    sums = np.zeros(windows.max() + 1)
    np.add.at(sums, windows, shares(scores, windows))
    np.testing.assert_allclose(sums, 1, rtol=1e-5)
    draw(scores, tokens, windows, utterance.text, spoken(utterance), stage.frame_seconds, tmp_path / "pooling.png")

    scored = pooled(pruner, pruner.encode([audio]), [["kaylen", "maier zorvan"]])
    assert all(set(words) == {"kaylen", "maier zorvan"} for (words,) in scored.values())

    evidence = pruner.evidence([audio], [utterance.keywords])
    assert fit(Observations(evidence, [spoken(utterance)])).keys() <= FirstPassWeights.model_fields.keys()

    summary = summarise(grid, tmp_path / "results", samples=20)
    assert list(summary["trainings"]) == ["tpi", "pc", "tags"]
    tpi = summary["trainings"]["tpi"]["sets"]
    assert set(tpi) == {"slides", "alike", "n5", "n30"} and set(tpi["n30"]) == set(tpi["alike"]) == {"predicted"}
    assert set(tpi["slides"]) == {"none", "full", "predicted", "oracle"}
    assert {item: set(result) for item, result in summary["trainings"]["tags"]["sets"].items()} == {
        "slides": {"predicted"}
    }
    rows = [json.loads(line) for line in (tmp_path / "results/tpi-1/n30/predicted.jsonl").read_text().splitlines()]
    assert len(rows) == tpi["n30"]["predicted"]["utterances"] == 3

    page = tmp_path / "page.md"
    write_page((grid, summary), (grid, summary), page, tmp_path / "images")
    text = page.read_text(encoding="utf-8")
    assert "| Does pruning pay?" in text and "| Does speech-driven pooling pay?" in text
    wer, low, high = tpi["slides"]["predicted"]["figures"]["wer"]
    assert f"{wer:.2f} [{low:.2f}, {high:.2f}]" in text
    assert "| never run | the whole list | – |" in text and "not measured" in text
    assert (tmp_path / "images" / "ablation-list-size.png").stat().st_size > 1000
