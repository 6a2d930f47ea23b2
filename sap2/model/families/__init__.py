"""Families of speech language models that the method runs on, a module per family.

The family of a base is detected from its `model_type`. Adding a family: see docs/families.md.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping

from sap2.errors import ModelError

if TYPE_CHECKING:  # "sap2 base" imports this module alone
    from sap2.model.configuration import SapFields
    from sap2.model.modeling import SapForConditionalGeneration
    from sap2.model.processing import SapProcessor

__all__ = ["FAMILIES", "Family", "available_families", "family_named", "family_of", "first_line", "register"]

# Module of each family's record, by stock `model_type`.
FAMILIES = {
    "qwen2_audio": "sap2.model.families.qwen2_audio",
    "qwen3_asr": "sap2.model.families.qwen3_asr",
    "audioflamingo3": "sap2.model.families.audio_flamingo3",
    "glmasr": "sap2.model.families.glm_asr",
}
OURS = "sap_"  # prefix of the stock model_type in the configurations that our classes save


@dataclass(frozen=True)
class Family:
    """A family of architectures: its classes, and what other code must know of it.

    Args:
        title: Name in texts.
        config, model, processor: Our classes; `model` has the head.
        encoder_positions: Positions per frame in the encoder's layers, for estimates of computation.
        encoder_seconds: Seconds that the encoder always computes, padding included; None = the recording's length.
        published: By hub id, configuration fields of public checkpoints that differ from the classes' defaults.
    """

    title: str
    config: type["SapFields"]
    model: type["SapForConditionalGeneration"]
    processor: type["SapProcessor"]
    encoder_positions: float
    encoder_seconds: float | None = None
    published: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The stock `model_type`."""
        return self.config.model_type.removeprefix(OURS)

    @property
    def frames_per_second(self) -> float:
        """Frames of speech that the text model reads per second, at Whisper's 100 mel frames."""
        return 100 / self.processor.mel_frames_per_frame


@cache
def family_named(name: str) -> Family:
    """Return the family of a stock `model_type`, or of ours.

    Raises: ModelError: the method does not support it, or the installed transformers lacks it.
    """
    module = FAMILIES.get(name.removeprefix(OURS))
    if module is None:
        known = ", ".join(FAMILIES)
        raise ModelError(f"model_type is {name}, expected one of {known}; docs/families.md says how to add one")
    try:
        return import_module(module).FAMILY
    except ImportError as error:
        raise ModelError(f"model_type is {name}: the installed transformers lacks it ({error}); upgrade it") from error


def family_of(directory: str | Path, **options: Any) -> tuple[Family, Any]:
    """Return the family of a base or an adapter, and the saved configuration; None for an adapter, which has none.

    Args:
        directory: Folder, or hub id of a base.
        options: Options of `AutoConfig.from_pretrained`.
    Raises: ModelError: there is no configuration, or its family is not known.
    """
    folder = Path(directory)
    if folder.is_dir() and not (folder / "config.json").is_file():
        return _family_of_processor(folder), None
    try:
        config = AutoConfig.from_pretrained(directory, **options)
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory}: no model configuration ({first_line(error)})") from error
    try:
        return family_named(config.model_type), config
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from error


def register(family: Family) -> Family:
    """Register a family's classes with transformers' Auto classes; checkpoints keep the stock key names."""
    config, headless = family.config, family.model.headless
    stock_headless = headless.__name__.removeprefix("Sap")
    for ours, stock in ((config.model_type, family.name), (headless.__name__, stock_headless)):
        mapping = get_checkpoint_conversion_mapping(stock)
        register_checkpoint_conversion_mapping(ours, mapping or [], overwrite=True)
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModel.register(config, headless, exist_ok=True)
    AutoModelForMultimodalLM.register(config, family.model, exist_ok=True)
    AutoProcessor.register(config, family.processor, exist_ok=True)
    return family


def available_families() -> list[Family]:
    """Return the families that the installed transformers supports; importing their modules registers their classes."""
    families = []
    for name in FAMILIES:
        try:
            families.append(family_named(name))
        except ModelError:
            continue  # raised again when a base of that family is loaded
    return families


def _family_of_processor(folder: Path) -> Family:
    """Return an adapter's family, by the processor class saved with it."""
    try:
        saved = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))["processor_class"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder}: has neither config.json nor a processor_config.json with processor_class ({error}); give a "
            "base, or an adapter written by a training stage"
        ) from error
    for family in available_families():
        if saved in (family.processor.__name__, family.processor.__name__.removeprefix("Sap")):
            return family
    raise ModelError(
        f"{folder}: processor_class is {saved}, expected a class of one of the families {', '.join(FAMILIES)}"
    )


def first_line(error: Exception) -> str:
    """Return the first non-empty line of the message, or of its cause's: strict configuration errors wrap another."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
