"""Stages take typed sections and paths, and return a summary."""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sap2 import stages
from sap2.data.audio import save_audio
from sap2.errors import InputError, ModelError, TrackingError
from sap2.params import (
    InferenceSection,
    LoraSection,
    ModelSection,
    PrepareSection,
    PruningSection,
    Section,
    TrackingSection,
    TrainSection,
)
from sap2.settings import RecogniserSettings, read_settings, save_part
from sap2.tracking import packaging

STAGES = ["prepare", "lists", "base", "train_pruner", "prune", "train_recogniser", "decode", "evaluate", "register"]
STAGES.append("settings")
OF_MACHINES = {"reference", "accelerators", "runtime"}  # parameters of a cluster or GPU, after the paths


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_takes_sections_and_paths_and_returns_a_summary(name):
    function = getattr(stages, name)
    signature = inspect.signature(function, eval_str=True)
    assert signature.return_annotation is stages.Summary
    kinds = [parameter.annotation for parameter in signature.parameters.values() if parameter.name not in OF_MACHINES]
    sections = [kind for kind in kinds if kind is not Path]
    assert all(issubclass(kind, Section) for kind in sections) and bool(sections) == (name != "settings")
    assert kinds == sections + [Path] * (len(kinds) - len(sections))
    assert function.__doc__


def test_a_summary_says_what_was_written_and_the_facts():
    summary = stages.Summary("prune", [Path("data/pruned")], {"test": {"recall": 0.91234, "utterances": 4}, "none": {}})
    assert str(summary) == "prune: wrote data/pruned\n  test: recall 0.9123, utterances 4\n  none: none"


def test_prepare_reads_a_folder_of_recordings(tmp_path):
    folder = tmp_path / "talks"
    for name in ("a", "b", "c"):
        save_audio(folder / f"{name}.wav", np.random.default_rng(1).normal(0, 0.1, 8000))
    (folder / "list.tsv").write_text("id\ttext\tkeywords\na\tone\tx\nb\ttwo\tx\nc\tthree\tx\nd\tfour\tx\n")
    section = PrepareSection(source="folder", folder={"root": str(folder)})
    summary = stages.prepare(section, tmp_path / "prepared", tmp_path / "cache")
    assert "accepted: 3" in str(summary) and "rejected: 1" in str(summary) and "no audio file 1" in str(summary)
    assert len((tmp_path / "prepared" / "quarantine.jsonl").read_text().splitlines()) == 1


def test_a_training_checks_the_tracking_server_first(monkeypatch, tmp_path):
    """The check precedes loading of the model: the base does not exist."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    sections = (TrainSection(), ModelSection(), LoraSection(), TrackingSection())
    with pytest.raises(TrackingError, match="127.0.0.1:9"):
        stages.train_pruner(*sections, lists=tmp_path, base=tmp_path / "nothing", output=tmp_path / "pruner")
    assert not (tmp_path / "pruner").exists()


def test_trainings_on_a_shared_volume_resume_their_own_runs(monkeypatch, tmp_path):
    """Two pipelines of a cluster: equal settings, different data, the same folder for checkpoints."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlruns.db'}")
    runs = []

    def killed(*given):
        runs.append(given[-1].run_id)
        raise ModelError("killed")

    monkeypatch.setattr("sap2.training.train", killed)
    for corpus in ("ours", "theirs", "ours", "theirs"):
        lists = tmp_path / corpus
        lists.mkdir(exist_ok=True)
        for split in ("train", "dev"):
            (lists / f"{split}.jsonl").write_text(corpus)
        sections = (TrainSection(), ModelSection(), LoraSection(), TrackingSection())
        with pytest.raises(ModelError, match="killed"):
            stages.train_pruner(*sections, lists, tmp_path / "base", tmp_path / "out", tmp_path / "volume" / "pruner")
    assert runs[0] != runs[1] and runs[:2] == runs[2:]


def test_a_method_without_a_pruner_trains_none_and_says_so(tmp_path):
    sections = (TrainSection(), ModelSection(method="jpi", window=4), LoraSection(), TrackingSection())
    summary = stages.train_pruner(*sections, base=tmp_path / "nothing", output=tmp_path / "pruner")
    assert "trained: nothing, jpi is one model" in str(summary)
    (file,) = (tmp_path / "pruner").iterdir()
    assert json.loads(file.read_text()).items() >= {"method": "jpi", "window": 4, "pooling_heads": 4}.items()


def test_evaluate_without_results_names_the_stage_to_run(tmp_path):
    from sap2.params import EvaluationSection

    with pytest.raises(InputError, match='run "sap2 decode" first'):
        stages.evaluate(EvaluationSection(), tmp_path, tmp_path / "reports")


def test_evaluate_scores_every_context_it_finds(tmp_path):
    from sap2.params import EvaluationSection

    row = {
        "id": "a",
        "hypothesis": "ask maier",
        "reference": "ask meyer",
        "keywords": ["meyer", "maier"],
        "given": [],
        "predicted": ["meyer"],
        "duration": 1.0,
        "audio": "a.wav",
    }
    for context in ("none", "oracle"):
        text = "ask meyer" if context == "oracle" else "ask maier"
        (tmp_path / "results").mkdir(exist_ok=True)
        (tmp_path / "results" / f"{context}.jsonl").write_text(
            json.dumps({**row, "context": context, "hypothesis": text, "response": text, "labels": row["reference"]})
            + "\n"
        )
    summary = stages.evaluate(EvaluationSection(bootstrap_samples=0), tmp_path / "results", tmp_path / "reports")
    assert all(path.exists() for path in summary.wrote)
    assert "WER" in str(summary)


def test_unreadable_files_do_not_stop_the_others(monkeypatch, tmp_path):
    save_audio(tmp_path / "a.wav", np.zeros(16_000))
    loaded = []

    class Recogniser:
        def check(self, keywords):
            assert keywords == ["x"]

        def __call__(self, audio, keywords):
            return SimpleNamespace(text=f"{len(audio)} {keywords}")

    def load(tracking, model, overrides, pruner_model):
        loaded.append((model, list(overrides), pruner_model))
        return Recogniser()

    monkeypatch.setattr(packaging, "load_recogniser", load)
    files = [tmp_path / "no.wav", tmp_path / "a.wav", tmp_path / "a.wav"]
    outcomes = list(stages.transcribe_files(files, ["x"], "m", "p", ["inference.num_beams=2"]))
    assert [path for path, _ in outcomes] == files
    assert isinstance(outcomes[0][1], InputError)
    assert [outcome.text for _, outcome in outcomes[1:]] == ["16000 ['x']"] * 2
    assert loaded == [("m", ["inference.num_beams=2"], "p")], "the model is loaded once"


def test_promote_reports_whether_the_version_is_champion(monkeypatch):
    from sap2.params import EvaluationSection, GateSection
    from sap2.tracking import promotion
    from sap2.tracking.gate import Rule

    def promote(tracking, gate, evaluation, version, force):
        assert (version, force) == ("7", None)
        return promotion.Promotion("m", 7, False, 3, 3, [Rule("WER % at most 20", "23.00", False)])

    monkeypatch.setattr(promotion, "promote", promote)
    summary = stages.promote(GateSection(), EvaluationSection(), TrackingSection(), "7")
    assert (summary.facts["promoted"], summary.facts["champion"], summary.wrote) == (False, 3, [])
    assert str(summary).startswith("promote:\n  promoted: False\n  version: 7\n")
    assert "| WER % at most 20 | 23.00  | broken  |" in str(summary)


def test_settings_combines_those_of_prune_and_decode(tmp_path):
    ran = RecogniserSettings().with_changes({"pruning": {"threshold": -1.25}, "inference": {"num_beams": 3}}, "test")
    pruned, results, output = tmp_path / "pruned", tmp_path / "results", tmp_path / "models" / "settings.json"
    with pytest.raises(InputError, match='pruned/settings.json: .*run "sap2 prune" first'):
        stages.settings(pruned, results, output)
    pruned.mkdir()
    save_part(pruned / "settings.json", PruningSection(**ran.pruning.model_dump(), train=False), ran.runtime)
    with pytest.raises(InputError, match='results/settings.json: .*run "sap2 decode" first'):
        stages.settings(pruned, results, output)
    results.mkdir()
    save_part(results / "settings.json", InferenceSection(**ran.inference.model_dump(), contexts=["none"]), ran.runtime)
    summary = stages.settings(pruned, results, output)
    assert read_settings(output) == ran and summary.wrote == [output]
    assert "threshold -1.25" in str(summary)
    save_part(pruned / "settings.json", ran.inference, ran.runtime)
    with pytest.raises(ModelError, match="has inference, runtime, expected pruning and runtime; run"):
        stages.settings(pruned, results, output)
