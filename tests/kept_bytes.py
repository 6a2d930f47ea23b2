"""Bytes that autograd keeps in a training step of the embedded base, measured in a new process."""

import torch
from tiny import tone

from sap2.model import load_model, load_processor
from sap2.params import LoraSection, TrainSection
from sap2.prompts import pruning_prompt
from sap2.training.adapters import attach
from sap2.training.memory import Load
from sap2.training.shapes import base_shape


def kept_bytes(model, batch) -> int:
    """Return the bytes that autograd keeps for the backward pass: each storage once, without the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage  # keeps the storage alive, so that no address is reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**batch)
    return sum(storage.nbytes() for storage in kept.values())


def measured(
    rows: int, dropout: float, bf16: bool, aggregate: str, rank: int, path: str = "embedded"
) -> tuple[Load, int, int]:
    """Return the load of a batch, and the bytes kept for it without and with gradient checkpointing."""
    shape = base_shape(path)
    dtype = torch.bfloat16 if bf16 else torch.float32
    base = load_model(shape.folder, dtype=dtype, aggregate=aggregate, projection_rank=rank)
    processor = load_processor(shape.folder)
    base.config.use_cache = False
    model = attach(base, processor, TrainSection(), LoraSection(dropout=dropout)).train().to(dtype)
    words = [f"kathryn{number}" for number in range(30)]
    batch = processor([pruning_prompt()] * rows, [words] * rows, [tone(1.5)] * rows, targets=["kathryn1"] * rows)
    load = Load(
        tokens=batch["input_ids"].shape[1],
        frames=processor.frames(24_000),
        context=batch["context_ids"].shape[1],
        answer=int((batch["labels"][0] != -100).sum()),
    )
    plain = kept_bytes(model, batch)
    base.gradient_checkpointing_enable({"use_reentrant": False})
    return load, plain, kept_bytes(model, batch)
