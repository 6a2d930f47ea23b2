"""Files of earlier versions are still read: one folder per version in tests/formats, unchanged after the release."""

from pathlib import Path

import pytest

from sap2.evaluation.reading import read_source
from sap2.evaluation.results import read_contexts
from sap2.manifest import read_manifest
from sap2.params import load_params, profile_names
from sap2.serving.keeping import requests

VERSIONS = sorted((Path(__file__).parent / "formats").iterdir())
version = pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)


@version
def test_manifests_of_earlier_versions_are_read_completely(folder):
    first, second = read_manifest(folder / "prepared.jsonl")
    assert (first.id, first.keywords, first.talk) == ("talk3-0007", ["maier", "meyer", "deep zorvan"], "talk3")
    assert first.model_extra == {"slide": 12} and second.audio.endswith(".tar#1536+20480")
    assert read_manifest(folder / "pruned.jsonl")[0].predicted == ["meyer"]


@version
def test_results_of_earlier_versions_are_scored(folder):
    ours = read_contexts({"predicted": folder / "predicted.jsonl"})["predicted"]["talk3-0007"]
    row = read_source(folder / "predicted.jsonl").rows["talk3-0007"]
    assert ours.hypothesis == row.hypothesis == row.reference and tuple(row.keywords) == ours.keywords


@version
def test_params_of_earlier_versions_are_valid(folder, monkeypatch):
    monkeypatch.delenv("SAP2_PROFILE", raising=False)
    path = folder / "params.yaml"
    assert [load_params(path, name).profile for name in profile_names(path)] == profile_names(path)


@version
def test_requests_stored_by_earlier_versions_are_read(folder):
    assert requests(folder)[0]["scores"] == {"meyer": -0.25}


@version
def test_adapters_and_settings_of_earlier_versions_load(folder, tmp_path):
    import torch
    from tiny import build_tiny_base

    from sap2.model import load_model
    from sap2.settings import read_settings

    model = load_model(build_tiny_base(tmp_path / "base", positions=100), folder / "adapter")
    weights = [weight for name, weight in model.named_parameters() if "lora_" in name]
    assert len(weights) > 20 and all(torch.isfinite(weight).all() and weight.abs().sum() > 0 for weight in weights)
    assert (model.config.method, model.config.window, model.config.weighting) == ("tpi", 2, "speech")
    settings = read_settings(folder / "settings.json")
    assert (settings.pruning.threshold, settings.pruning.max_list, settings.pruning.first_pass) == (-1.5, 200, None)
    assert (settings.pruning.max_new_tokens, settings.inference.max_new_tokens) == (64, 64)
    assert (settings.inference.max_segment, settings.inference.segment_overlap) == (None, 1.0)
