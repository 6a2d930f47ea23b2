"""Where the LoRA adapter goes, and how it is written."""

import contextlib
import os
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model

from sap2.errors import ModelError
from sap2.model import MARKERS, POOLING
from sap2.training.deepspeed_internals import size

PROJECTOR = "projector"
ENCODER_LAYERS = "q_proj|k_proj|v_proj|o_proj|out_proj|fc1|fc2"


def attach(model, processor, section, lora) -> PeftModel:
    """Put a fresh adapter on a base; everything else is frozen.

    The context markers' embeddings are trained too when the base did not know them: an untrained marker says nothing.
    Raises: ModelError: no layer of the base has one of the names, or nothing would train the markers.
    """
    _check_targets(model, lora.targets)
    if processor.added_markers and not model.config.trained_markers:
        raise ModelError(
            f"the base's tokenizer lacks {', '.join(processor.added_markers)} and its configuration has no "
            "trained_markers; load the base with sap2.model.load_model"
        )
    return get_peft_model(model, lora_config(model.config, section, lora))


def lora_config(config, section, lora) -> LoraConfig:
    """The adapter of a model: LoRA, and the weights that its configuration adds to the base's."""
    added = {POOLING: config.projection_rank > 0, MARKERS: config.trained_markers}
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target_pattern(lora.targets, section),
        modules_to_save=[name for name, there in added.items() if there] or None,
    )


def target_pattern(targets: list[str], section) -> str:
    """Full-match pattern of the layers that get an adapter; the encoder's namesakes only with `freeze_vit: false`."""
    names = [name for name in targets if name != PROJECTOR]
    places = []
    if names and not section.freeze_llm:
        places.append(rf"language_model\..*\.({'|'.join(names)})")
    if PROJECTOR in targets and not section.freeze_aligner:
        places.append(r"multi_modal_projector\.linear(_[12])?")
    if not section.freeze_vit:
        places.append(rf"audio_tower\..*\.({ENCODER_LAYERS})")
    if not places:
        raise ModelError(f"lora.targets {targets} and what is frozen leave nothing to train; add a target or unfreeze")
    return rf".*({'|'.join(places)})"


def trainable_count(model) -> int:
    """Number of weights that are trained, on all processes together."""
    return sum(size(p) for p in model.parameters() if p.requires_grad)


def name_base(model: PeftModel, base: str | Path, output: Path) -> None:
    """Make the adapter name its base: a folder by its way from the adapter's folder, a hub id as it is."""
    folder = Path(base)
    name = os.path.relpath(folder, output) if folder.exists() else str(base)
    model.peft_config["default"].base_model_name_or_path = Path(name).as_posix()


def gathered(model, zero3: bool):
    """Context in which the trained weights are whole on every process."""
    if not zero3:
        return contextlib.nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([p for p in model.parameters() if p.requires_grad])


def _check_targets(model, targets: list[str]) -> None:
    present = {name.rsplit(".", 1)[-1] for name, _ in model.model.language_model.named_modules()} | {PROJECTOR}
    unknown = [name for name in targets if name not in present]
    if unknown:
        raise ModelError(f"lora.targets: the base has no layer {unknown[0]!r} in its language model; correct the name")
