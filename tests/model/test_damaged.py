"""Damaged, foreign and hostile model folders: each is refused with its name, what is wrong and what to do."""

import json
import pickle
import shutil
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import build_tiny_base

from sap2.errors import ModelError
from sap2.model import LORA_TARGETS, load_model, load_processor, sap_settings, save_adapter
from sap2.model.pairing import base_digest

WEIGHTS, ADAPTER = "model.safetensors", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> Path:
    """A base and an adapter for it, as a training leaves them."""
    folder = tmp_path_factory.mktemp("intact")
    base = build_tiny_base(folder / "base")
    model = peft.get_peft_model(load_model(base), peft.LoraConfig(r=2, target_modules=LORA_TARGETS))
    save_adapter(model, load_processor(base), folder / "adapter")
    return folder


@pytest.fixture
def folder(intact, tmp_path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "models"))


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def shrink(path: Path) -> None:
    """Another base's weights: every matrix of half the width."""
    weights = load_file(path)
    save_file({name: weight[..., : weight.shape[-1] // 2].contiguous() for name, weight in weights.items()}, path)


def swap_tokens(path: Path, first: str = "user", second: str = "speech") -> None:
    """A tokenizer of the same size in which two words have swapped ids."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    words = tokenizer["model"]["vocab"]
    first, second = sorted(words)[:2] if first not in words or second not in words else (first, second)
    words[first], words[second] = words[second], words[first]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


def split_otherwise(path: Path) -> None:
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["model"]["merges"].reverse()
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


DAMAGE = {
    "truncated weights": (lambda f: cut(f / "base" / WEIGHTS), "base: the base's weights cannot be read"),
    "empty weights": (lambda f: cut(f / "base" / WEIGHTS, 0), "base: the base's weights cannot be read"),
    "no weights": (lambda f: (f / "base" / WEIGHTS).unlink(), "base: the base's weights cannot be read"),
    "truncated config": (lambda f: cut(f / "base" / "config.json"), "base: no "),
    "truncated tokenizer": (lambda f: cut(f / "base" / "tokenizer.json"), "base: its processor cannot be loaded"),
    "weights of another size": (
        lambda f: shrink(f / "base" / WEIGHTS),
        "base: .* cannot be read .shapes differ from config.json",
    ),
    "truncated adapter": (lambda f: cut(f / "adapter" / ADAPTER), "adapter: the adapter does not fit the base"),
    "no adapter weights": (lambda f: (f / "adapter" / ADAPTER).unlink(), f"adapter: no {ADAPTER}"),
    "truncated adapter config": (
        lambda f: cut(f / "adapter" / "adapter_config.json"),
        "adapter: the adapter does not fit the base",
    ),
    "adapter for another base": (lambda f: shrink(f / "adapter" / ADAPTER), "adapter: the adapter does not fit"),
    "adapter for another base of the same sizes": (
        lambda f: build_tiny_base(f / "base", seed=1),
        "adapter: trained on a base with other weights than .*base; give the base it was trained on, or train",
    ),
    "adapter trained with other numbers of tokens": (
        lambda f: swap_tokens(f / "adapter" / "tokenizer.json"),
        "adapter: trained with another tokenizer than .*base has .2 tokens differ, such as .*give the base it was",
    ),
    "adapter trained with other splits of words": (
        lambda f: split_otherwise(f / "adapter" / "tokenizer.json"),
        "adapter: trained with another tokenizer than .*base has .the merges differ",
    ),
    "truncated tokenizer of the adapter": (
        lambda f: cut(f / "adapter" / "tokenizer.json"),
        "tokenizer.json: cannot be read as a tokenizer",
    ),
    "truncated pooling settings": (
        lambda f: cut(f / "adapter" / "sap_config.json"),
        r"sap_config.json: not readable .*train the stage again",
    ),
    "pooling settings that are no object": (
        lambda f: (f / "adapter" / "sap_config.json").write_text("[]"),
        "sap_config.json: not readable",
    ),
    "pooling settings out of range": (
        lambda f: edit(f / "adapter" / "sap_config.json", window=0),
        "window is 0",
    ),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_refused_with_its_name(folder, name):
    damage, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(ModelError, match=message):
        load_model(folder / "base", folder / "adapter")


def test_the_undamaged_folder_loads(folder):
    load_model(folder / "base", folder / "adapter")
    assert sap_settings(folder / "adapter")["window"] == 2


@pytest.mark.parametrize(
    ("part", "good", "bad"),
    [("base", WEIGHTS, "pytorch_model.bin"), ("adapter", ADAPTER, "adapter_model.bin")],
)
@pytest.mark.parametrize("beside", [False, True])
def test_pickled_weights_are_never_opened(folder, tmp_path, part, good, bad, beside):
    """Alone they are refused; beside safetensors they are not looked at."""
    mark = tmp_path / "opened"
    (folder / part / bad).write_bytes(pickle.dumps({"weight": Trap(mark)}))
    if beside:
        load_model(folder / "base", folder / "adapter")
    else:
        (folder / part / good).unlink()
        with pytest.raises(ModelError, match=good):
            load_model(folder / "base", folder / "adapter")
    assert not mark.exists()


def test_code_in_a_folder_is_never_run(folder, tmp_path):
    """The hub's `trust_remote_code`: a class named in config.json beside its module."""
    mark = tmp_path / "run"
    (folder / "base" / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n", encoding="utf-8")
    hooks = {name: "evil.Evil" for name in ("AutoConfig", "AutoModel", "AutoModelForSeq2SeqLM", "AutoProcessor")}
    edit(folder / "base" / "config.json", auto_map=hooks)
    edit(folder / "base" / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    load_model(folder / "base")
    assert not mark.exists()


def test_a_base_is_known_again_in_other_parts_and_precision(folder):
    before = base_digest(folder / "base")
    weights = {name: weight.to(torch.bfloat16) for name, weight in load_file(folder / "base" / WEIGHTS).items()}
    names = sorted(weights)
    (folder / "base" / WEIGHTS).unlink()
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in part}, folder / "base" / f"part-{number}.safetensors")
    assert base_digest(folder / "base") == before
    weights[names[0]][0] += 1
    save_file(weights, folder / "base" / "part-0.safetensors")
    assert base_digest(folder / "base") != before


def test_an_adapter_from_elsewhere_names_no_base(folder):
    settings = folder / "adapter" / "sap_config.json"
    edit(settings, base_sha256=None)
    (folder / "adapter" / "tokenizer.json").unlink()
    load_model(build_tiny_base(folder / "base", seed=1), folder / "adapter")


def test_weights_load_in_the_requested_precision(folder):
    weights = {name: weight.to(torch.bfloat16) for name, weight in load_file(folder / "base" / WEIGHTS).items()}
    save_file(weights, folder / "base" / WEIGHTS, {"format": "pt"})
    assert {weight.dtype for weight in load_model(folder / "base", dtype=torch.float32).parameters()} == {torch.float32}
