"""The base stage: from inside the package, from a folder, or a clear error."""

import json

import huggingface_hub
import pytest
from tiny import build_tiny_base

from sap2.base import resolve_base
from sap2.constants import EMBEDDED
from sap2.errors import ModelError
from sap2.model import load_model, load_processor
from sap2.model.families import FAMILIES
from sap2.params import BaseSection


def test_a_folder_is_taken_as_it_is_and_leaves_pickles_behind(tmp_path):
    source = build_tiny_base(tmp_path / "source")
    (source / "training_args.bin").write_bytes(b"pickle")
    facts = resolve_base(BaseSection(path=str(source)), tmp_path / "base")
    assert facts["model_type"] == "qwen2_audio"
    assert not (tmp_path / "base" / "training_args.bin").exists()
    load_model(tmp_path / "base")


def test_a_folder_of_another_architecture_is_refused(tmp_path):
    source = build_tiny_base(tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(ModelError, match="model_type is 'llama', expected qwen2_audio"):
        resolve_base(BaseSection(path=str(source)), tmp_path / "base")
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("model_type", [*FAMILIES, "sap_qwen3_asr"])
def test_a_base_of_every_family_is_taken(model_type, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    facts = resolve_base(BaseSection(path=str(tmp_path)), tmp_path / "base")
    assert facts["model_type"] == model_type


def test_of_a_hub_id_a_reference_holds_the_commit_alone(tmp_path, monkeypatch):
    def snapshot(name, *, revision, local_dir, allow_patterns):
        assert allow_patterns == ["config.json"], "not 16 GB"
        noted = local_dir / ".cache" / "huggingface" / "download"
        noted.mkdir(parents=True)
        (noted / "config.json.metadata").write_text("0123abc\netag\n1.0\n")
        (local_dir / "config.json").write_text(json.dumps({"model_type": kind}))
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    kind = "qwen2_audio"
    facts = resolve_base(BaseSection(path="some/base"), tmp_path / "base", reference=True)
    assert (facts["revision"], facts["model_type"]) == ("0123abc", "qwen2_audio")
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["hub.json"]
    kind = "llama"
    with pytest.raises(ModelError, match="model_type is 'llama', expected qwen2_audio"):
        resolve_base(BaseSection(path="some/base"), tmp_path / "other", reference=True)


def test_neither_folder_nor_hub_id_says_what_to_give(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="neither an existing folder nor a hub id"):
        resolve_base(BaseSection(path="no/such/model/here"), tmp_path / "base")


def test_the_embedded_base_is_small_stock_qwen2_audio_in_safetensors(tmp_path):
    facts = resolve_base(BaseSection(path="embedded"), tmp_path / "base")
    assert facts["bytes"] < 40 * 2**20
    assert json.loads((EMBEDDED / "config.json").read_text())["model_type"] == "qwen2_audio"
    model, processor = load_model(tmp_path / "base"), load_processor(tmp_path / "base")
    assert processor.leading_blank
    assert model.get_input_embeddings().num_embeddings == len(processor.tokenizer)
