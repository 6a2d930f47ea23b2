"""A training as a value, shared by the launching process and the training processes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sap2.params import LoraSection, ModelSection, RecogniserSection, TrainSection
from sap2.training.checkpoints import WITHOUT_EFFECT
from sap2.training.lists import Stage

PATHS = ("train", "dev", "output", "checkpoints")
SECTIONS = {"pruner": TrainSection, "recogniser": RecogniserSection}


# Settings added after 0.1.0: omitted while unset, so that trainings of 0.1.0 keep their fingerprint.
NOT_IN_0_1_0 = {"quantization", "attention"}


@dataclass(frozen=True)
class Job:
    """Inputs, outputs and settings of a training: the arguments of `sap2.training.train`."""

    stage: Stage
    base: str
    train: Path
    dev: Path
    output: Path
    checkpoints: Path
    section: TrainSection
    model: ModelSection
    lora: LoraSection
    resume: bool = True

    @property
    def log(self) -> Path:
        """Log file of the libraries' messages during the training."""
        return self.checkpoints.with_name(f"{self.checkpoints.name}.log")

    def to_json(self) -> str:
        """Return the job as JSON, for the processes that torchrun starts."""
        sections = {name: getattr(self, name).model_dump(mode="json") for name in ("section", "model", "lora")}
        paths = {name: str(getattr(self, name)) for name in PATHS}
        return json.dumps({"stage": self.stage, "base": self.base, "resume": self.resume} | paths | sections)

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Return the job of a JSON text from `to_json`."""
        fields = json.loads(text)
        fields |= {name: Path(fields[name]) for name in PATHS}
        fields["section"] = SECTIONS[fields["stage"]](**fields["section"])
        return cls(**fields | {"model": ModelSection(**fields["model"]), "lora": LoraSection(**fields["lora"])})

    def settings(self) -> dict[str, Any]:
        """Return the settings that the result depends on, besides base and data."""
        # Early stopping chooses among the checkpoints, so their interval has an effect.
        without_effect = WITHOUT_EFFECT - {"save_steps"} if self.section.early_stopping else WITHOUT_EFFECT
        section = self.section.model_dump(mode="json", exclude=without_effect)
        section = {key: value for key, value in section.items() if key not in NOT_IN_0_1_0 or value is not None}
        model, lora = self.model.model_dump(mode="json"), self.lora.model_dump(mode="json")
        return {"stage": self.stage, "section": section, "model": model, "lora": lora}
