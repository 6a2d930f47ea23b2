"""Where the LoRA adapter goes, and how it is written."""

import contextlib
import os
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer

from sap2.errors import ModelError
from sap2.model import POOLING
from sap2.training.deepspeed_internals import size

PROJECTOR = "projector"
ENCODER_LAYERS = "q_proj|k_proj|v_proj|out_proj|fc1|fc2"


def attach(model, processor, section, lora) -> PeftModel:
    """Put a fresh adapter on a base; everything else is frozen.

    The context markers' embeddings are trained too when the base did not know them: an untrained marker says nothing.
    Raises: ModelError: no layer of the base has one of the names.
    """
    _check_targets(model, lora.targets)
    config = lora_config(model.config, section, lora, _new_markers(model.name_or_path, processor))
    return get_peft_model(model, config)


def lora_config(config, section, lora, new_markers: dict[str, list[int]] | None = None) -> LoraConfig:
    """The adapter of a model: LoRA, the pooling's projections where its configuration has them, the new markers."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target_pattern(lora.targets, section),
        trainable_token_indices=new_markers,
        modules_to_save=[POOLING] if config.projection_rank else None,
    )


def target_pattern(targets: list[str], section) -> str:
    """Full-match pattern of the layers that get an adapter; the encoder's namesakes only with `freeze_vit: false`."""
    names = [name for name in targets if name != PROJECTOR]
    places = []
    if names and not section.freeze_llm:
        places.append(rf"language_model\..*\.({'|'.join(names)})")
    if PROJECTOR in targets and not section.freeze_aligner:
        places.append(r"multi_modal_projector\.linear")
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


def _new_markers(base: str, processor) -> dict[str, list[int]] | None:
    known = AutoTokenizer.from_pretrained(base).get_vocab()
    # The placeholder is left out: its embedding never reaches the language model.
    new = [token for token in processor.context_tokens[:2] if token not in known]
    return {"embed_tokens": processor.tokenizer.convert_tokens_to_ids(new)} if new else None
