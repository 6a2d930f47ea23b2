"""How many weights a base and its adapter have, counted without loading one: the model is built on the meta device."""

from dataclasses import dataclass
from pathlib import Path

from peft import get_peft_model
from torch import device
from transformers import AutoConfig

import sap2
from sap2.errors import ModelError
from sap2.model import MARKERS, SapQwen2AudioConfig, SapQwen2AudioForConditionalGeneration, load_processor
from sap2.params import LoraSection, TrainSection
from sap2.training.adapters import lora_config

EMBEDDED = Path(sap2.__file__).parent / "assets" / "base"
# What config.json of Qwen/Qwen2-Audio-7B and of -7B-Instruct says, where it differs from the classes' defaults
# (huggingface.co/Qwen/Qwen2-Audio-7B-Instruct): Whisper-large-v3's encoder under Qwen-7B's decoder, no grouped queries.
QWEN2_AUDIO_7B = {
    "audio_config": {
        "model_type": "qwen2_audio_encoder", "num_mel_bins": 128, "d_model": 1280, "encoder_layers": 32,
        "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "max_source_positions": 1500,
    },
    "text_config": {
        "model_type": "qwen2", "vocab_size": 156_032, "hidden_size": 4096, "intermediate_size": 11_008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "tie_word_embeddings": False,
    },
}  # fmt: skip
PUBLISHED = {"Qwen/Qwen2-Audio-7B": QWEN2_AUDIO_7B, "Qwen/Qwen2-Audio-7B-Instruct": QWEN2_AUDIO_7B}


@dataclass(frozen=True)
class Shape:
    """A base's architecture.

    Args:
        config: As the model would be built.
        source: Where the numbers are from, for people.
        folder: The base's folder when it is here, to tokenise with; None = its shape alone is known.
    """

    config: SapQwen2AudioConfig
    source: str
    folder: Path | None = None


@dataclass(frozen=True)
class Sizes:
    """Numbers of weights.

    Args:
        frozen, trainable: All of the base, and the adapter's with the new markers' rows.
        encoder_layers, decoder_layers: Of the frozen ones, those in layers: what a frame or a token is multiplied with.
        largest: The largest part ZeRO-3 gathers at once: a decoder layer or the embedding table.
    """

    frozen: int
    trainable: int
    encoder_layers: int
    decoder_layers: int
    largest: int


def base_shape(path: str, projection_rank: int = 0) -> Shape:
    """The shape of `base.path`: the embedded base, a folder, or a hub id; nothing is downloaded.

    Args:
        projection_rank: That of the pooling's learned projections, 0 = none.
    Raises: ModelError: the folder holds no Qwen2-Audio, or the hub id is neither in the local cache nor a published one
        whose shape is known here.
    """
    folder = EMBEDDED if path == "embedded" else Path(path)
    if folder.is_dir():
        new = bool(load_processor(folder).added_markers)
        return Shape(_config(folder, projection_rank, new), f"{path}'s config.json", folder)
    try:
        config = _config(path, projection_rank)
        return Shape(config, f"config.json of {path} in the local hub cache; context markers taken for new")
    except ModelError:
        if path not in PUBLISHED:
            known = ", ".join(PUBLISHED)
            raise ModelError(
                f"base.path is {path}: no such folder, not in the local hub cache, and no published shape is known; "
                f"download it and give its folder, or plan with one of {known}"
            ) from None
        config = SapQwen2AudioConfig(**PUBLISHED[path], projection_rank=projection_rank, trained_markers=True)
        return Shape(config, f"the published shape of {path}; no download")


def count(shape: Shape, section: TrainSection, lora: LoraSection) -> Sizes:
    """Count the weights of the base with the adapter that training would attach.

    Raises: ModelError: what is frozen leaves nothing to train.
    """
    with device("meta"):
        base = SapQwen2AudioForConditionalGeneration(shape.config)
    base.tie_weights()
    frozen = _unique(weight for name, weight in base.named_parameters() if MARKERS not in name)  # those are no base's
    encoder, decoder = base.model.audio_tower.layers, base.model.language_model.layers
    layers = [_unique(encoder.parameters()), _unique(decoder.parameters())]
    largest = max(_unique(decoder[0].parameters()), base.get_input_embeddings().weight.numel())
    adapted = get_peft_model(base, lora_config(base.config, section, lora), low_cpu_mem_usage=True)
    trainable = _unique(weight for weight in adapted.parameters() if weight.requires_grad)
    return Sizes(frozen, trainable, *layers, largest)


def _unique(weights) -> int:
    """Weights, each once: a tied head is the embedding table."""
    return sum(weight.numel() for weight in {id(weight): weight for weight in weights}.values())


def _config(path: str | Path, projection_rank: int, trained_markers: bool = True) -> SapQwen2AudioConfig:
    try:
        stock = AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: no model configuration here") from error
    if stock.model_type not in ("qwen2_audio", SapQwen2AudioConfig.model_type):
        raise ModelError(f"{path}: model_type is {stock.model_type}, expected qwen2_audio; take a Qwen2-Audio base")
    fields = stock.to_dict()
    for name in ("model_type", "architectures", "transformers_version"):
        fields.pop(name, None)
    return SapQwen2AudioConfig(**fields | {"projection_rank": projection_rank, "trained_markers": trained_markers})
