"""Attachment of the LoRA adapter to a base, and what its saved files record."""

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
    """Attach a new adapter to a base; all other weights are frozen.

    The context markers' embeddings are trained too if the base's tokenizer lacked the markers.
    Raises: ModelError: a target is not a layer of the base, or the new markers would not be trained.
    """
    _check_targets(model, lora.targets)
    if processor.added_markers and not model.config.trained_markers:
        raise ModelError(
            f"the base's tokenizer lacks {', '.join(processor.added_markers)} and its configuration has no "
            "trained_markers; load the base with sap2.model.load_model"
        )
    return get_peft_model(model, lora_config(model.config, section, lora))


def lora_config(config, section, lora) -> LoraConfig:
    """Return the adapter's configuration: LoRA, and the modules that the model's configuration adds to the base."""
    added = {POOLING: config.projection_rank > 0, MARKERS: config.trained_markers}
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target_pattern(lora.targets, section),
        modules_to_save=[name for name, trained in added.items() if trained] or None,
    )


def target_pattern(targets: list[str], section) -> str:
    """Return a full-match pattern of the adapted layers; the encoder's are included only with `freeze_vit: false`."""
    names = [name for name in targets if name != PROJECTOR]
    patterns = []
    if names and not section.freeze_llm:
        patterns.append(rf"language_model\..*\.({'|'.join(names)})")
    if PROJECTOR in targets and not section.freeze_aligner:
        patterns.append(r"multi_modal_projector\.linear(_[12])?")
    if not section.freeze_vit:
        patterns.append(rf"audio_tower\..*\.({ENCODER_LAYERS})")
    if not patterns:
        raise ModelError(
            f"lora.targets {targets} and the freeze_ settings leave nothing to train; add a target or unfreeze a part"
        )
    return rf".*({'|'.join(patterns)})"


def trainable_count(model) -> int:
    """Return the number of trained weights, over all processes."""
    return sum(size(p) for p in model.parameters() if p.requires_grad)


def name_base(model: PeftModel, base: str | Path, output: Path) -> None:
    """Record the base in the adapter: a folder as a path relative to the adapter's folder, a hub id unchanged."""
    folder = Path(base)
    name = os.path.relpath(folder, output) if folder.exists() else str(base)
    model.peft_config["default"].base_model_name_or_path = Path(name).as_posix()


def gathered(model, zero3: bool):
    """Return a context in which every process has the complete trained weights."""
    if not zero3:
        return contextlib.nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([p for p in model.parameters() if p.requires_grad])


def _check_targets(model, targets: list[str]) -> None:
    present = {name.rsplit(".", 1)[-1] for name, _ in model.model.language_model.named_modules()} | {PROJECTOR}
    unknown = [name for name in targets if name not in present]
    if unknown:
        raise ModelError(f"lora.targets: the base has no layer {unknown[0]!r} in its language model; correct the name")
