"""Families of speech language models that the method runs on, one module each.

The family of a base is detected from its `model_type`. Adding a family: see docs/families.md.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping

from sap2.errors import ModelError

__all__ = ["FAMILIES", "Family", "family_named", "family_of", "register"]

# Stock `model_type` of each family, and the module of ours that holds its record.
FAMILIES = {
    "qwen2_audio": "sap2.model.families.qwen2_audio",
    "qwen3_asr": "sap2.model.families.qwen3_asr",
    "audioflamingo3": "sap2.model.families.audio_flamingo3",
    "glmasr": "sap2.model.families.glm_asr",
}
OURS = "sap_"  # before the stock model_type, in the configurations that our classes save


@dataclass(frozen=True)
class Family:
    """What tells one architecture from another outside the classes themselves.

    Args:
        title: Name for people.
        config, model, processor: Our classes; `model` has the head.
        encoder_positions: Positions of the encoder's layers per frame, for the plan's arithmetic.
        encoder_seconds: Audio that the encoder always computes, padding included; None = the recording's own length.
        published: Configuration fields of public checkpoints by hub id, where they differ from the classes' defaults.
    """

    title: str
    config: type
    model: type
    processor: type
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
    """The family of a `model_type`, stock or ours.

    Raises: ModelError: the method does not run on it, or the installed transformers lacks it.
    """
    module = FAMILIES.get(name.removeprefix(OURS))
    if module is None:
        known = ", ".join(FAMILIES)
        raise ModelError(f"model_type is {name}, expected one of {known}; docs/families.md says how to add one")
    try:
        return import_module(module).FAMILY
    except ImportError as error:
        raise ModelError(f"model_type is {name}: the installed transformers lacks it ({error}); upgrade it") from error


def family_of(directory: str | Path, **options) -> tuple[Family, Any]:
    """The family of a base or an adapter, and its configuration as saved; None for an adapter, which has none.

    Args:
        directory: Folder, or hub id of a base.
        options: Of `AutoConfig.from_pretrained`.
    Raises: ModelError: no configuration, or none of a known family.
    """
    folder = Path(directory)
    if folder.is_dir() and not (folder / "config.json").is_file():
        return _family_of_processor(folder), None
    try:
        config = AutoConfig.from_pretrained(directory, **options)
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory}: no model configuration ({_first_line(error)})") from error
    try:
        return family_named(config.model_type), config
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from error


def register(family: Family) -> Family:
    """Make transformers' Auto classes know a family's classes; checkpoints keep the stock key names."""
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


def register_all() -> None:
    """Register every family that the installed transformers has."""
    for name in FAMILIES:
        try:
            family_named(name)
        except ModelError:
            continue  # said when a base of that family is loaded


def _family_of_processor(folder: Path) -> Family:
    """An adapter's family, by the processor class that was saved with it."""
    try:
        saved = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))["processor_class"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder}: neither config.json nor a processor_config.json that names its processor_class ({error}); give "
            "a base, or an adapter written by a training stage"
        ) from error
    for name in FAMILIES:
        family = family_named(name)
        if saved in (family.processor.__name__, family.processor.__name__.removeprefix("Sap")):
            return family
    raise ModelError(f"{folder}: processor_class is {saved}, of none of the families {', '.join(FAMILIES)}")


def _first_line(error: Exception) -> str:
    """The message's first line that says something; strict configuration errors put it second."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
