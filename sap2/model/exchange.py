"""Conversion of adapters between ms-swift's layout, as the public recipe writes it, plain PEFT's and ours.

Tensors keep their values; only names differ. ms-swift uses the names of transformers before 5
(`language_model.model.layers…`, `multi_modal_projector.linear`), we and plain PEFT the names since 5
(`model.language_model.layers…`). PEFT translates the old names itself, except the projector's, which it drops.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, device

from sap2.errors import ModelError
from sap2.files import atomic_dir, json_file
from sap2.model.configuration import SAP_FIELDS, SapFields
from sap2.model.families import Family, family_of
from sap2.model.loading import (
    ADAPTER_WEIGHTS,
    MARKERS,
    OWN_ROWS,
    TRAINED_ON,
    base_config,
    has_own_rows,
    load_processor,
    marker_start,
    save_sap_settings,
)
from sap2.model.pairing import base_digest

__all__ = ["Layout", "export_adapter", "import_adapter"]

Layout = Literal["ms-swift", "peft"]

CONFIG = "adapter_config.json"
WRAPPED = "base_model.model."  # prefix of every tensor's name in an adapter's file
OLD: Final = "ms-swift"
NEW: Final = "peft"
# Prefixes of names before transformers 5 and since; the first match applies.
RENAMED = (
    ("language_model.lm_head", "lm_head"),
    ("language_model.model", "model.language_model"),
    ("audio_tower", "model.audio_tower"),
    ("multi_modal_projector", "model.multi_modal_projector"),
)
# Equivalent of the public code's pooling: plain means of windows that ignore keyword borders.
PUBLIC_POOLING = {"method": "tpi", "window": 2, "weighting": "mean", "windows": "fixed", "tagging": 0.0}
CLASS_FREE = {"auto_mapping": None, "task_type": None}  # resets the fields that name a model class
OFFSETS = f"{WRAPPED}model.{MARKERS}.offsets"  # of the markers' embeddings, in our adapters
# The markers' rows of the embedding table, in PEFT's layout.
ROWS = f"{WRAPPED}model.language_model.embed_tokens.token_adapter.trainable_tokens_delta"
# Parts of a model in the pattern that ms-swift writes, in its order.
PARTS = ("language_model", "audio_tower", "multi_modal_projector")


def import_adapter(source: str | Path, base: str | Path, output: str | Path, **pooling: Any) -> list[str]:
    """Convert an adapter of ms-swift or plain PEFT to our layout; the folder is written atomically.

    Args:
        source: Folder with adapter_config.json and adapter_model.safetensors.
        base: The base it was trained on: a folder, or a hub id.
        pooling: Fields of `SapFields` that it was trained with; by default the public code's.
    Returns: The modules that have an adapter.
    Raises: ModelError: it is not LoRA, trains other weights as well, or its tensors do not fit this base.
    """
    source = Path(source)
    config, weights = _read(source)
    weights = {_renamed(name, OLD, NEW): weight for name, weight in weights.items()}
    if other := sorted(name for name in weights if ".lora_" not in name):
        raise ModelError(
            f"{source}: trains other weights than LoRA's matrices ({other[0]}); merge it into the base instead"
        )
    modules = _modules(weights)
    processor = load_processor(base)
    fields = {name: value for name, value in (PUBLIC_POOLING | pooling).items() if value is not None}
    family, stock = family_of(base)
    shape = base_config(base, family, stock, processor, fields)
    config |= {"target_modules": _pattern(modules, NEW), "base_model_name_or_path": str(base), **CLASS_FREE}
    _check(source, config, weights, family, shape)
    with atomic_dir(output) as partial:
        save_file(weights, partial / ADAPTER_WEIGHTS, {"format": "pt"})
        (partial / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        load_processor(base, window=shape.window, windows=shape.windows, separator=shape.separator).save_pretrained(
            partial
        )
        settings = {name: getattr(shape, name) for name in SAP_FIELDS}
        save_sap_settings(settings | {TRAINED_ON: base_digest(base), OWN_ROWS: True}, partial)
    return modules


def export_adapter(adapter: str | Path, base: str | Path, output: str | Path, layout: Layout) -> list[str]:
    """Convert an adapter of ours for ms-swift (`ms-swift`), or for PEFT on transformers' stock class (`peft`).

    The pooling settings of sap_config.json are not exported, as neither supports them. The markers' trained rows become
    PEFT's trainable tokens.

    Args:
        base: The folder of the base it was trained on.
    Returns: The modules that have an adapter.
    Raises: ModelError: the adapter has weights that the stock class lacks, such as the pooling's learned projections.
    """
    adapter = Path(adapter)
    config, weights = _read(adapter)
    if OFFSETS in weights:
        rows, ids = _marker_rows(Path(base), has_own_rows(adapter), weights.pop(OFFSETS))
        weights, config = weights | {ROWS: rows}, config | {"trainable_token_indices": {"embed_tokens": ids}}
    if learned := sorted(name for name in weights if ".lora_" not in name and name != ROWS):
        raise ModelError(f"{adapter}: has {learned[0]}, which no stock model has; it cannot be exported")
    modules = _modules(weights)
    weights = {_renamed(name, NEW, layout): weight for name, weight in weights.items()}
    config |= {"target_modules": _pattern(modules, layout), "modules_to_save": None, **CLASS_FREE}
    with atomic_dir(output) as partial:
        save_file(weights, partial / ADAPTER_WEIGHTS, {"format": "pt"})
        (partial / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return modules


def _marker_rows(base: Path, own: bool, offsets: Tensor) -> tuple[Tensor, list[int]]:
    """Return the markers' trained rows of the embedding table, and their ids.

    Args:
        own: Whether training started from the base's own rows: see `load_model`.
    """
    processor = load_processor(base)
    ids = processor.tokenizer.convert_tokens_to_ids(list(processor.context_tokens[:2]))
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                if name.endswith("embed_tokens.weight"):
                    table = file.get_tensor(name).float()
                    if len(table) <= max(ids):
                        raise ModelError(f"{base}: its embedding table has no rows for the context markers")
                    start = table[ids] if own else marker_start(table, processor).expand(2, -1)
                    return (start + offsets.float()).contiguous(), ids
    raise ModelError(f"{base}: has no embedding table in *.safetensors; give the base the adapter was trained on")


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    config = json_file(folder / CONFIG, "give the folder of an adapter")
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder / CONFIG}: peft_type is {config.get('peft_type')}, expected LORA")
    try:
        return config, load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{folder / ADAPTER_WEIGHTS}: not readable ({error}); only safetensors files can be read"
        ) from error


def _renamed(name: str, source: Layout, target: Layout) -> str:
    """Return a tensor's name in the target layout; a name already in it is unchanged.

    >>> _renamed("base_model.model.language_model.model.layers.0.mlp.up_proj.lora_A.weight", "ms-swift", "peft")
    'base_model.model.model.language_model.layers.0.mlp.up_proj.lora_A.weight'
    >>> _renamed("base_model.model.model.multi_modal_projector.linear.lora_B.weight", "peft", "ms-swift")
    'base_model.model.multi_modal_projector.linear.lora_B.weight'
    """
    bare = name.removeprefix(WRAPPED)
    for old, new in RENAMED if source != target else ():
        before, after = (old, new) if source == OLD else (new, old)
        if bare.startswith(f"{before}."):
            return f"{WRAPPED}{after}{bare.removeprefix(before)}"
    return name


def _modules(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the modules that have an adapter, from tensors in our layout."""
    names = {name.partition(".lora_")[0].removeprefix(WRAPPED) for name in weights if ".lora_" in name}
    if not names:
        raise ModelError("the adapter has no LoRA matrices")
    return sorted(names)


def _pattern(modules: list[str], layout: Layout) -> str:
    """Return a full-match pattern of the kinds of modules that have an adapter, as ms-swift writes it."""
    parts = []
    for part in PARTS:
        leaves = sorted({name.rsplit(".", 1)[1] for name in modules if name.startswith(f"model.{part}.")})
        before = "" if layout == OLD else r"model\."
        if leaves:
            parts.append(rf"{before}{part}(?=\.).*\.({'|'.join(map(re.escape, leaves))})")
    return rf"^({'|'.join(parts)})$"


def _check(
    source: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], family: Family, shape: SapFields
) -> None:
    """Compare the tensors' names and shapes with an adapter's on this base; no weights are loaded."""
    known = set(LoraConfig.__dataclass_fields__)
    lora = LoraConfig(**{name: value for name, value in config.items() if name in known and name != "peft_type"})
    with device("meta"):
        model = family.model(shape)
    try:
        adapted = get_peft_model(model, lora, low_cpu_mem_usage=True)
    except ValueError as error:
        raise ModelError(f"{source}: does not fit the base ({str(error).splitlines()[0]})") from error
    wanted = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    for what, names in (("lacks", wanted.keys() - weights.keys()), ("has", weights.keys() - wanted.keys())):
        if names:
            raise ModelError(f"{source}: {what} {', '.join(sorted(names)[:3])}, unlike an adapter of this base")
    for name, weight in weights.items():
        if weight.shape != wanted[name].shape:
            raise ModelError(f"{source}: {name} is {tuple(weight.shape)}, expected {tuple(wanted[name].shape)}")
