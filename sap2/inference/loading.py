"""Folders to recognisers: one base with two adapters, or a whole checkpoint for each stage.

A registered version is fetched by `sap2.tracking.packaging`, which then loads it here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sap2.accelerators import check_accelerators, wanted
from sap2.errors import ModelError
from sap2.inference.phonemes import PhonemeHead
from sap2.inference.pruner import Pruner
from sap2.inference.recogniser import Recogniser
from sap2.inference.stage_model import StageModel
from sap2.inference.transcriber import TPI
from sap2.model import add_adapter, load_model, load_processor, processor_fields, sap_settings
from sap2.settings import PrunerSettings, RecogniserSettings

__all__ = ["best_device", "load_checkpoints", "load_pruner", "load_recogniser"]

PRUNER, RECOGNISER = "pruner", "recogniser"


def load_recogniser(
    base: str | Path,
    pruner: str | Path | None = None,
    recogniser: str | Path | None = None,
    settings: RecogniserSettings | None = None,
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    **sap_overrides: Any,
) -> Recogniser:
    """Load one base and the two adapters; a stage without an adapter runs on the bare base.

    With the methods PC and JPI the pruner may be left out, or be the folder that says there is none.

    Args:
        dtype: None = the checkpoint's own on a GPU, float32 on a CPU, where half precision is many times slower.
        sap_overrides: Fields of `SapQwen2AudioConfig`, instead of the adapters' own.
    Raises: ModelError: a folder is unusable, or the adapters were trained with different pooling.
    """
    adapters = {name: path for name, path in ((PRUNER, pruner), (RECOGNISER, recogniser)) if path is not None}
    model, processor = _load(base, adapters, device, dtype, sap_overrides)
    phonemes = PhonemeHead.load(base)
    stage_2 = StageModel(model, processor, RECOGNISER, phonemes=phonemes)
    if stage_2.method != TPI:
        return Recogniser(settings or RecogniserSettings(), stage_2)
    stage_1, bare = StageModel(model, processor, PRUNER), StageModel(model, processor, phonemes=phonemes)
    return Recogniser(settings or RecogniserSettings(), stage_2, stage_1, bare)


def load_pruner(
    base: str | Path,
    pruner: str | Path | None = None,
    settings: PrunerSettings | None = None,
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
) -> Pruner:
    """Load stage 1 alone, without an adapter on the bare base.

    Raises: ModelError: a folder is unusable, or the method has no stage 1.
    """
    model, processor = _load(base, {} if pruner is None else {PRUNER: pruner}, device, dtype, {})
    stage = StageModel(model, processor, PRUNER)
    if stage.method != TPI:
        raise ModelError(f"{pruner}: its method is {stage.method}, which has no stage 1; load the recogniser alone")
    bare = StageModel(model, processor, phonemes=PhonemeHead.load(base))
    return Pruner(stage, bare, settings or PrunerSettings())


def load_checkpoints(
    pruner: str | Path,
    recogniser: str | Path,
    settings: RecogniserSettings | None = None,
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
) -> Recogniser:
    """Load a whole model for each stage, as the public SAP² checkpoints are.

    Pooling and tokenizer are each model's own. An encoder with the same weights in both is kept and run once.

    Args:
        pruner, recogniser: Folders or hub ids in Hugging Face format.
        dtype: See `load_recogniser`.
    Raises: ModelError: a checkpoint is unusable, of a method without stages, or its frames are longer than the other's.
    """
    first, second = (StageModel(*_load(path, {}, device, dtype, {})) for path in (pruner, recogniser))
    for path, stage in ((pruner, first), (recogniser, second)):
        if stage.method != TPI:
            raise ModelError(f"{path}: its method is {stage.method}, a model of one stage; load it alone")
    if first.frame_seconds != second.frame_seconds:
        raise ModelError(
            f"{pruner} hears frames of {first.frame_seconds:g} s, {recogniser} of {second.frame_seconds:g} s; "
            "give checkpoints with the same kind of encoder"
        )
    towers = [stage.model.model.audio_tower for stage in (first, second)]
    if _same_weights(*towers):
        first.model.model.audio_tower = towers[1]
    else:
        first = StageModel(first.model, first.processor, encoder=PRUNER)
    return Recogniser(settings or RecogniserSettings(), second, first)


def best_device() -> str | None:
    """The first GPU when there is one.

    Raises: ModelError: this pod was given some, and torch sees none.
    """
    check_accelerators(min(1, wanted()))
    return "cuda" if torch.cuda.is_available() else None


def _load(
    base: str | Path,
    adapters: Mapping[str, str | Path],
    device: str | None,
    dtype: str | torch.dtype | None,
    sap_overrides: Mapping[str, Any],
) -> tuple[Any, Any]:
    """The base wrapped with the adapters, and its processor."""
    trained = {name: sap_settings(path) for name, path in adapters.items()}
    if len(trained) == 2 and all(trained.values()) and trained[PRUNER] != trained[RECOGNISER]:
        raise ModelError(
            f"{adapters[PRUNER]} was trained with {trained[PRUNER]}, {adapters[RECOGNISER]} with "
            f"{trained[RECOGNISER]}; train both stages with the same model section"
        )
    sap = next(filter(None, trained.values()), {})
    if sap.get("method", TPI) != TPI:
        adapters = {name: path for name, path in adapters.items() if name != PRUNER}
    overrides = {name: value for name, value in sap_overrides.items() if value is not None}
    if dtype is None:
        dtype = "auto" if device and torch.device(device).type != "cpu" else torch.float32
    model = load_model(base, dtype=dtype, **sap | overrides)
    processor = load_processor(base, **processor_fields(model.config))
    for name, path in adapters.items():
        model = add_adapter(model, path, name)
    return (model.to(device) if device else model), processor


def _same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        weight.shape == theirs[name].shape and torch.equal(weight, theirs[name]) for name, weight in ours.items()
    )
