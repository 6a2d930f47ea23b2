"""Two recognisers that may write other texts never have the same identity; the same one has it wherever it lies."""

import shutil

import peft
import pytest
import torch
from tiny import build_tiny_base

from sap2.inference import Decoding, Recogniser
from sap2.model import LORA_TARGETS, load_model, load_processor, save_adapter


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
    def loaded(base="base", pruner="adapter", recogniser="adapter", **settings):
        return Recogniser.load(folders / base, folders / pruner, folders / recogniser, **settings)

    return loaded


def test_the_same_model_elsewhere_and_in_other_batches_is_the_same(folders, loaded):
    shutil.copytree(folders / "base", folders / "moved" / "base")
    moved = loaded("moved/base", decoding=Decoding(batch_size=3, batch_tokens=99))
    assert moved.identity() == loaded().identity()


@pytest.mark.parametrize(
    "change",
    [
        {"recogniser": "scaled"}, {"threshold": -1.0}, {"stop_bias": -2.0}, {"max_list": 7},
        {"first_pass": {}}, {"first_pass": {"tag": 0.5}},
        {"prefilter": 5}, {"decoding": Decoding(num_beams=2)}, {"decoding": Decoding(max_new_tokens=9)},
        {"decoding": Decoding(rescoring=1.0)},
        {"aggregate": "max"},
    ],
    ids=str,
)  # fmt: skip
def test_another_model_or_setting_is_another(loaded, change):
    assert loaded(**change).identity() != loaded().identity()


def test_another_base_is_another(folders):
    one, other = (Recogniser.load(folders / base) for base in ("base", "other base"))
    assert one.identity() != other.identity()


@pytest.mark.parametrize("stage", ["pruner", "recogniser"])
def test_one_weight_of_an_adapter_makes_another(loaded, stage):
    trained, before = loaded(), loaded().identity()
    weights = next(one for name, one in trained.model.named_parameters() if f"lora_B.{stage}" in name)
    with torch.no_grad():
        weights[-1, -1] += 1e-6
    assert trained.identity() != before


def test_a_stage_1_of_its_own_counts(folders):
    bases = [folders / "base", folders / "other base"]
    one, other = (Recogniser.from_checkpoints(pruner, bases[0]) for pruner in bases)
    assert one.identity() != other.identity() and other.identity() != Recogniser.load(bases[0]).identity()
