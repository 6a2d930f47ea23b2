"""How many weights a base and its adapter have, counted without loading one: the model is built on the meta device."""

from dataclasses import dataclass
from pathlib import Path

from peft import get_peft_model
from torch import device

import sap2
from sap2.errors import ModelError
from sap2.model import FAMILIES, MARKERS, Family, family_named, family_of, load_processor, sap_config
from sap2.model.configuration import SapFields
from sap2.params import LoraSection, TrainSection
from sap2.training.adapters import lora_config

EMBEDDED = Path(sap2.__file__).parent / "assets" / "base"


@dataclass(frozen=True)
class Shape:
    """A base's architecture.

    Args:
        family: Its family.
        config: As the model would be built.
        source: Where the numbers are from, for people.
        folder: The base's folder when it is here, to tokenise with; None = its shape alone is known.
    """

    family: Family
    config: SapFields
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
    Raises: ModelError: the folder holds no base of a known family, or the hub id is neither in the local cache nor a
        published one whose shape is known here.
    """
    folder = EMBEDDED if path == "embedded" else Path(path)
    added = {"projection_rank": projection_rank, "trained_markers": True}
    if folder.is_dir():
        added["trained_markers"] = bool(load_processor(folder).added_markers)
        family, stock = family_of(folder)
        return Shape(family, sap_config(family, stock, **added), f"{path}'s config.json", folder)
    try:
        family, stock = family_of(path, local_files_only=True)
        source = f"config.json of {path} in the local hub cache; context markers taken for new"
        return Shape(family, sap_config(family, stock, **added), source)
    except ModelError:
        families = [family_named(name) for name in FAMILIES]
        published = {hub_id: family for family in families for hub_id in family.published}
        if path not in published:
            raise ModelError(
                f"base.path is {path}: no such folder, not in the local hub cache, and no published shape is known; "
                f"download it and give its folder, or plan with one of {', '.join(published)}"
            ) from None
        family = published[path]
        config = family.config(**family.published[path], **added)
        return Shape(family, config, f"the published shape of {path}; no download")


def count(shape: Shape, section: TrainSection, lora: LoraSection) -> Sizes:
    """Count the weights of the base with the adapter that training would attach.

    Raises: ModelError: what is frozen leaves nothing to train.
    """
    with device("meta"):
        base = shape.family.model(shape.config)
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
