"""Estimate of a training's memory per GPU: weights, gradients, optimizer states, activations.

The first three are exact. Activations are the tensors that autograd keeps between forward and backward pass.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sap2.model.configuration import SapFields
from sap2.params import LoraSection, ModelSection, TrainSection
from sap2.training.shapes import Sizes

__all__ = ["ZERO", "Load", "Memory", "ZeroStage", "activations", "attention_width", "memory"]

# Bytes per weight of a quantised linear layer, with scales: 4 bits are NF4 in blocks of 64 with 8-bit scales.
QUANTISED = {"4bit": 0.5 + 1 / 64, "8bit": 1.0}
ZeroStage = Literal["none", "zero1", "zero2", "zero3", "zero2-offload", "zero3-offload"]
ZERO: tuple[ZeroStage, ...] = ("none", "zero1", "zero2", "zero3", "zero2-offload", "zero3-offload")


@dataclass(frozen=True)
class Load:
    """The size of an utterance in the model.

    Args:
        tokens: Sequence length: speech, prompt, pooled list and answer.
        frames: Frames of speech, which `tokens` includes.
        context: Tokens of the list before pooling.
        answer: Tokens that pass the head.
    """

    tokens: float
    frames: float
    context: float
    answer: float


@dataclass(frozen=True)
class Memory:
    """Bytes per process on its GPU, without CUDA's context, communication buffers and fragmentation.

    `host` is pinned host memory that offloading uses instead; the total does not include it.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    host: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations


def memory(
    sizes: Sizes, section: TrainSection, stage: ZeroStage, activation_bytes: float, ranks: int | None = None
) -> Memory:
    """Estimate the bytes of a process.

    DeepSpeed keeps the trained weights in the model's precision and, for the optimizer, a float32 copy with Adam's two
    moments; without DeepSpeed the adapter itself is float32. ZeRO-1 partitions the optimizer's states, ZeRO-2 the
    gradients as well, ZeRO-3 all weights, also the frozen ones, and gathers each part before it is used. Offloading
    keeps a process's share of the optimizer's states, of the gradients (in float32) and of ZeRO-3's weights on the
    host.
    """
    ranks = ranks or section.nproc
    width = 2 if section.bf16 else 4
    level, offload = ZERO.index(stage.removesuffix("-offload")), stage.endswith("-offload")
    trained = 4 if stage == "none" else width
    quantised = sizes.encoder_layers + sizes.decoder_layers if section.quantization else 0
    frozen = (sizes.frozen - quantised) * width + quantised * (
        QUANTISED[section.quantization] if section.quantization else 0
    )
    weights = frozen + sizes.trainable * trained
    if offload:
        host = 16 * sizes.trainable / ranks + (weights / ranks if level == 3 else 0)
        return Memory(sizes.largest * width if level == 3 else weights, 0.0, 0.0, activation_bytes, host)
    if level == 3:
        weights = weights / ranks + sizes.largest * width
    gradients = sizes.trainable * trained / (ranks if level >= 2 else 1)
    states = sizes.trainable * (8 if stage == "none" else 12) / (ranks if level >= 1 else 1)
    return Memory(weights, gradients, states, activation_bytes)


def activations(
    config: SapFields,
    load: Load,
    rows: float,
    lora: LoraSection,
    model: ModelSection,
    bf16: bool,
    checkpointing: bool = False,
    mask_bytes: int = 1,
) -> float:
    """Estimate the bytes that autograd keeps between forward and backward pass of a batch.

    The base is frozen, so a linear layer keeps its input for its adapter only, and the encoder keeps nothing. With
    checkpointing every layer keeps its input, and only a single layer at a time keeps the rest.

    Args:
        config: The model's configuration.
        load: Size of each utterance.
        rows: Utterances of the batch.
        mask_bytes: Bytes per value of a dropout mask: 1 on a GPU; on a CPU as many as an activation.
    """
    text, width = config.text_config, 2 if bf16 else 4
    hidden, inner, heads = text.hidden_size, text.intermediate_size, text.num_attention_heads
    queries = attention_width(text)
    # Inputs of q, k, v and o, gate and up, and down: which are kept, and how often, depends on the dropout.
    names = [name for name in lora.targets if name != "projector"]
    if lora.dropout > 0:  # each adapter drops other values, and keeps the result and the mask
        widths = {"down_proj": inner, "o_proj": queries}
        inputs = sum(widths.get(name, hidden) for name in names) * (width + mask_bytes)
    else:  # adapters share their input; attention and the MLP keep their outputs anyway
        groups = [{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}]
        inputs = sum(bool(group & set(names)) for group in groups) * hidden * width
        inputs += inner * width * ("down_proj" in names)
    normed = queries * (1 + (text.num_key_value_heads or heads) / heads) if text.model_type == "qwen3" else 0
    layer = (
        inputs
        + 4 * normed  # queries and keys, which Qwen3 norms in float32
        + len(names) * lora.rank * width
        + 2 * (4 * hidden + 4)  # both norms work in float32
        + 4 * queries * width + 4 * heads  # queries, keys, values, output, each as wide as all heads; log-sums
        + 3 * inner * width  # gate, its activation, up
    )  # fmt: skip
    layers = text.num_hidden_layers
    kept = layers * hidden * width + layer if checkpointing else layers * layer
    tokens = load.tokens * (kept + 4 * hidden)
    head = load.answer * text.vocab_size * (width + 8)  # logits, their float32 copy, log-probabilities
    pooling = load.context * 8 * hidden  # float32 tokens, twice
    if model.projection_rank:  # tokens and frames before and after the projection
        pooling += (load.context + load.frames) * 4 * (hidden + model.projection_rank)
    if model.aggregate != "mean":
        pooling += 2 * load.context * load.frames * model.heads * 4  # scores of every frame and token
    return rows * (tokens + head + pooling)


def attention_width(text: Any) -> int:
    """Return the total width of all heads' queries: the hidden size, unless the configuration sets `head_dim`.

    Args:
        text: A text model's configuration, which differs by family.
    """
    heads = text.num_attention_heads
    return heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)
