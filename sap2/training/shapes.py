"""Numbers of weights of a base and its adapter, counted on the meta device without loading any."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from peft import get_peft_model
from torch import device, nn

from sap2.constants import EMBEDDED_BASES
from sap2.errors import ModelError
from sap2.model import MARKERS, Family, available_families, family_of, load_processor, sap_config
from sap2.model.configuration import SapFields
from sap2.params import LoraSection, TrainSection
from sap2.training.adapters import lora_config


@dataclass(frozen=True)
class Shape:
    """A base's architecture.

    Args:
        family: Its family.
        config: The model's configuration.
        source: Source of the configuration, as text.
        folder: The base's folder, if it is local; its tokenizer then measures utterances.
    """

    family: Family
    config: SapFields
    source: str
    folder: Path | None = None


@dataclass(frozen=True)
class Sizes:
    """Numbers of weights.

    Args:
        frozen: Weights of the base.
        trainable: Weights of the adapter, with the new markers' rows.
        encoder_layers, decoder_layers: Frozen weights in layers, which every frame or token is multiplied with.
        largest: Largest part that ZeRO-3 gathers at once: a decoder layer or the embedding table.
    """

    frozen: int
    trainable: int
    encoder_layers: int
    decoder_layers: int
    largest: int


def base_shape(path: str, projection_rank: int = 0) -> Shape:
    """Return the shape of `base.path`: an embedded base, a folder, or a hub id; nothing is downloaded.

    Args:
        projection_rank: Rank of the pooling's learned projections, 0 = none.
    Raises: ModelError: the folder has no base of a known family, or the hub id is neither in the local cache nor a
        published base.
    """
    folder = EMBEDDED_BASES.get(path) or Path(path)
    added: dict[str, Any] = {"projection_rank": projection_rank, "trained_markers": True}
    if folder.is_dir():
        added["trained_markers"] = bool(load_processor(folder).added_markers)
        family, stock = family_of(folder)
        return Shape(family, sap_config(family, stock, **added), f"{path}'s config.json", folder)
    try:
        family, stock = family_of(path, local_files_only=True)
        source = f"config.json of {path} in the local hub cache; context markers assumed new"
        return Shape(family, sap_config(family, stock, **added), source)
    except ModelError:
        published = {hub_id: family for family in available_families() for hub_id in family.published}
        if path not in published:
            raise ModelError(
                f"base.path is {path}: no such folder, not in the local hub cache, and not a published base of known "
                f"shape; download it and give its folder, or plan with one of {', '.join(published)}"
            ) from None
        family = published[path]
        fields: dict[str, Any] = {**family.published[path], **added}
        return Shape(family, family.config(**fields), f"the published shape of {path}; no download")


def count(shape: Shape, section: TrainSection, lora: LoraSection) -> Sizes:
    """Count the weights of the base with the adapter that training would attach.

    Raises: ModelError: the freeze_ settings leave nothing to train.
    """
    with device("meta"):
        base = shape.family.model(shape.config)
    base.tie_weights()
    frozen = _unique(weight for name, weight in base.named_parameters() if MARKERS not in name)
    encoder = cast(nn.ModuleList, base.model.audio_tower.layers)
    decoder = cast(nn.ModuleList, base.model.language_model.layers)
    table = cast(nn.Embedding, base.get_input_embeddings())
    largest = max(_unique(decoder[0].parameters()), table.weight.numel())
    adapted = get_peft_model(base, lora_config(base.config, section, lora), low_cpu_mem_usage=True)
    trainable = _unique(weight for weight in adapted.parameters() if weight.requires_grad)
    return Sizes(frozen, trainable, _unique(encoder.parameters()), _unique(decoder.parameters()), largest)


def _unique(weights: Iterable[nn.Parameter]) -> int:
    """Count weights, shared ones once: a tied head is the embedding table."""
    return sum(weight.numel() for weight in {id(weight): weight for weight in weights}.values())
