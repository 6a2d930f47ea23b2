"""Recognisers with different texts have different identities; a moved recogniser keeps its identity."""

import shutil

import peft
import pytest
import torch
from tiny import build_tiny_base

from sap2.inference import load_checkpoints, load_recogniser
from sap2.inference.identity import identity
from sap2.model import LORA_TARGETS, load_model, load_processor, save_adapter
from sap2.settings import RecogniserSettings


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    build_tiny_base(root / "base", positions=100)
    build_tiny_base(root / "other base", positions=100, seed=1)
    for name, alpha in (("adapter", 8), ("scaled", 16)):
        config = peft.LoraConfig(r=2, lora_alpha=alpha, target_modules=LORA_TARGETS)
        torch.manual_seed(0)
        save_adapter(peft.get_peft_model(load_model(root / "base"), config), load_processor(root / "base"), root / name)
    return root


@pytest.fixture(scope="module")
def loaded(folders):
    def loaded(base="base", pruner="adapter", recogniser="adapter", sap=None, **changes):
        settings = RecogniserSettings().with_changes(changes, "test")
        return load_recogniser(folders / base, folders / pruner, folders / recogniser, settings, **sap or {})

    return loaded


def test_identity_ignores_paths_and_batch_sizes(folders, loaded):
    shutil.copytree(folders / "base", folders / "moved" / "base")
    speed = {"batch_size": 3, "batch_tokens": 99}
    moved = loaded("moved/base", pruning=speed, inference=speed)
    assert identity(moved) == identity(loaded())


@pytest.mark.parametrize(
    "change",
    [
        {"recogniser": "scaled"}, {"sap": {"aggregate": "max"}},
        {"pruning": {"threshold": -1.0}}, {"pruning": {"stop_bias": -2.0}}, {"pruning": {"max_list": 7}},
        {"pruning": {"first_pass": None}}, {"pruning": {"first_pass": {"tag": 0.5}}}, {"pruning": {"prefilter": 5}},
        {"pruning": {"num_beams": 2}}, {"inference": {"num_beams": 2}}, {"inference": {"max_new_tokens": 9}},
        {"inference": {"rescoring": 1.0}}, {"inference": {"max_segment": 1.5}},
    ],
    ids=str,
)  # fmt: skip
def test_another_model_or_setting_has_another_identity(loaded, change):
    assert identity(loaded(**change)) != identity(loaded())


def test_another_base_has_another_identity(folders):
    first, other = (load_recogniser(folders / base) for base in ("base", "other base"))
    assert identity(first) != identity(other)


def test_another_spelling_has_another_identity(folders, tmp_path):
    shutil.copytree(folders / "base", tmp_path / "base")
    load_processor(folders / "base", spelling="folded").save_pretrained(tmp_path / "base")
    assert identity(load_recogniser(tmp_path / "base")) != identity(load_recogniser(folders / "base"))


@pytest.mark.parametrize("stage", ["pruner", "recogniser"])
def test_one_weight_of_an_adapter_makes_another(loaded, stage):
    trained, before = loaded(), identity(loaded())
    weights = next(
        item for name, item in trained.transcriber.stage.model.named_parameters() if f"lora_B.{stage}" in name
    )
    with torch.no_grad():
        weights[-1, -1] += 1e-6
    assert identity(trained) != before


def test_a_separate_stage_1_is_part_of_the_identity(folders):
    bases = [folders / "base", folders / "other base"]
    first, other = (load_checkpoints(pruner, bases[0]) for pruner in bases)
    assert len({identity(first), identity(other), identity(load_recogniser(bases[0]))}) == 3
