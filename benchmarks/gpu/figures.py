"""Estimates of `sap2 plan` for a training step, to compare with the measurements."""

from types import SimpleNamespace

from bases import DROPOUT, LORA, decoder_layers, encoder_layers
from measuring import GB

from sap2.training.memory import Load, activations, memory
from sap2.training.plan import UTILISATION, operations
from sap2.training.shapes import Shape, Sizes

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "projector"]


def planned(family, model, rows: int, load: Load, checkpointing: bool, zero: str, peak: float | None) -> dict:
    """Estimate memory (`sap2.training.memory`) and seconds (`sap2.training.plan`) of a step on a single GPU.

    Args:
        model: A PEFT model.
        zero: `none`, or a ZeRO stage; determines the adapter's precision.
        peak: The device's peak in TFLOPS; None = seconds are not estimated.
    """
    base, config = model.get_base_model(), model.get_base_model().config
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    frozen = sum(weight.numel() for weight in model.parameters()) - trainable
    layers = decoder_layers(base)
    sizes = Sizes(
        frozen, trainable, _frozen(encoder_layers(base)), _frozen(layers),
        max(_frozen(layers[0]), base.get_input_embeddings().weight.numel()),
    )  # fmt: skip
    section = SimpleNamespace(
        bf16=True, nproc=1, gradient_checkpointing=checkpointing, cache_encoder=False, quantization=None
    )
    lora = SimpleNamespace(targets=TARGETS, rank=LORA["r"], dropout=DROPOUT)
    pooling = SimpleNamespace(
        projection_rank=config.projection_rank, aggregate=config.aggregate, heads=config.pooling_heads
    )
    kept = activations(config, load, rows, lora, pooling, True, checkpointing)
    needed = memory(sizes, section, zero, kept)
    figures = {"planned_gb": needed.total / GB, "planned_activations_gb": kept / GB}
    if peak is not None:
        work = rows * operations(Shape(family, config, "built"), sizes, load, section)
        figures["planned_seconds"] = [work / (peak * 1e12 * share) for share in reversed(UTILISATION)]
    return figures


def tera_operations(family, model, rows: int, load: Load, recomputed: bool) -> float:
    """Count the operations of a step in 10¹², as `sap2 plan` does.

    Args:
        recomputed: Include the layers that gradient checkpointing recomputes.
    """
    base = model.get_base_model()
    sizes = Sizes(0, 0, _frozen(encoder_layers(base)), _frozen(decoder_layers(base)), 0)
    section = SimpleNamespace(gradient_checkpointing=recomputed, cache_encoder=False, quantization=None)
    return rows * operations(Shape(family, base.config, "built"), sizes, load, section) / 1e12


def _frozen(module) -> int:
    return sum(weight.numel() for weight in module.parameters() if not weight.requires_grad)
