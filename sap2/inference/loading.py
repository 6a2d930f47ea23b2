"""Loading of recognisers from folders: a base with two adapters, or a full checkpoint per stage.

`sap2.tracking.packaging` downloads registered versions, then loads them with this module.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from sap2.accelerators import check_accelerators, wanted
from sap2.errors import ModelError
from sap2.inference.pruner import Pruner
from sap2.inference.recogniser import Recogniser
from sap2.inference.runtime import check_runtime, loading_options, set_decoding
from sap2.inference.stage_model import StageModel
from sap2.inference.transcriber import TPI
from sap2.model import add_adapter, has_own_rows, load_model, load_processor, processor_fields, sap_settings
from sap2.model.ctc import CtcHead
from sap2.settings import DEFAULT_RUNTIME, PrunerSettings, RecogniserSettings, RuntimeSettings

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
    """Load a base and two adapters; a stage without an adapter runs on the bare base.

    With the methods PC and JPI the pruner may be omitted, or be a folder that states there is none.

    Args:
        dtype: None = the checkpoint's on a GPU; float32 on a CPU, where half precision is many times slower.
        sap_overrides: Fields of `SapFields`, overriding the adapters'.
    Raises: ModelError: a folder is unusable, the adapters were trained with different pooling, or the device cannot do
        what `settings.runtime` says.
    """
    settings = settings or RecogniserSettings()
    adapters = {name: path for name, path in ((PRUNER, pruner), (RECOGNISER, recogniser)) if path is not None}
    model, processor = _load(base, adapters, settings.runtime, device, dtype, sap_overrides)
    ctc = CtcHead.load(base)
    stage_2 = StageModel(model, processor, RECOGNISER, ctc=ctc)
    if stage_2.method != TPI:
        return Recogniser(settings, stage_2)
    stage_1, bare = StageModel(model, processor, PRUNER, ctc=ctc), StageModel(model, processor, ctc=ctc)
    return Recogniser(settings, stage_2, stage_1, bare)


def load_pruner(
    base: str | Path,
    pruner: str | Path | None = None,
    settings: PrunerSettings | None = None,
    *,
    runtime: RuntimeSettings = DEFAULT_RUNTIME,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
) -> Pruner:
    """Load stage 1 alone; without an adapter it runs on the bare base.

    Raises: ModelError: as `load_recogniser`, or the method has no stage 1.
    """
    model, processor = _load(base, {} if pruner is None else {PRUNER: pruner}, runtime, device, dtype, {})
    stage = StageModel(model, processor, PRUNER)
    if stage.method != TPI:
        raise ModelError(f"{pruner}: its method is {stage.method}, which has no stage 1; load the recogniser alone")
    bare = StageModel(model, processor, ctc=CtcHead.load(base))
    return Pruner(stage, bare, settings or PrunerSettings())


def load_checkpoints(
    pruner: str | Path,
    recogniser: str | Path,
    settings: RecogniserSettings | None = None,
    *,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
) -> Recogniser:
    """Load a full model per stage, such as the public SAP² checkpoints.

    Each model has its pooling and tokenizer. If both encoders have equal weights, they are shared and run once.

    Args:
        pruner, recogniser: Folders or hub ids in Hugging Face format.
        dtype: See `load_recogniser`.
    Raises: ModelError: a checkpoint is unusable or of a method without stages, or the frame lengths differ.
    """
    settings = settings or RecogniserSettings()
    first, second = (StageModel(*_load(path, {}, settings.runtime, device, dtype, {})) for path in (pruner, recogniser))
    for path, stage in ((pruner, first), (recogniser, second)):
        if stage.method != TPI:
            raise ModelError(f"{path}: its method is {stage.method}, a model of one stage; load it alone")
    if first.frame_seconds != second.frame_seconds:
        raise ModelError(
            f"{pruner} has frames of {first.frame_seconds:g} s, {recogniser} of {second.frame_seconds:g} s; "
            "expected checkpoints with the same kind of encoder"
        )
    towers = [stage.model.model.audio_tower for stage in (first, second)]
    if _same_weights(*towers):
        first.model.model.audio_tower = towers[1]
    else:
        first = StageModel(first.model, first.processor, encoder=PRUNER)
    return Recogniser(settings, second, first)


def best_device() -> str | None:
    """Return the first GPU, or None without GPUs.

    Raises: ModelError: the pod requested GPUs, but torch sees none.
    """
    check_accelerators(min(1, wanted()))
    return "cuda" if torch.cuda.is_available() else None


def _load(
    base: str | Path,
    adapters: Mapping[str, str | Path],
    runtime: RuntimeSettings,
    device: str | None,
    dtype: str | torch.dtype | None,
    sap_overrides: Mapping[str, Any],
) -> tuple[Any, Any]:
    """Load the base wrapped with the adapters, and its processor."""
    check_runtime(runtime, device)
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
    own_rows = any(map(has_own_rows, adapters.values()))
    options = loading_options(runtime, device, dtype)
    with _placed_on(device):
        model: Any = load_model(base, dtype=dtype, own_rows=own_rows, **options, **sap | overrides)
        set_decoding(runtime, model, device)
        processor = load_processor(base, **processor_fields(model.config))
        for name, path in adapters.items():
            model = add_adapter(model, path, name)
    if device and not getattr(model, "is_quantized", False):  # quantised weights are placed while they are loaded
        model = model.to(device)
    return model, processor


def _placed_on(device: str | None) -> AbstractContextManager[Any]:
    """Make a GPU the current one: quantised weights are placed on that while they are loaded."""
    return torch.cuda.device(device) if device and torch.device(device).type == "cuda" else nullcontext()


def _same_weights(module: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = module.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        weight.shape == theirs[name].shape and torch.equal(weight, theirs[name]) for name, weight in ours.items()
    )
