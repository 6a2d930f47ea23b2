"""A training as a value: what the launching process and each training process agree on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sap2.params import LoraSection, ModelSection, RecogniserSection, TrainSection
from sap2.training.checkpoints import WITHOUT_EFFECT
from sap2.training.lists import Stage

PATHS = ("train", "dev", "output", "checkpoints")
SECTIONS = {"pruner": TrainSection, "recogniser": RecogniserSection}


# Settings that trainings of 0.1.0 did not have, left out while unset: such a training stays the same one.
NOT_IN_0_1_0 = {"quantization", "attention"}


@dataclass(frozen=True)
class Job:
    """What is trained from what: the arguments of `sap2.training.train`."""

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
        """What libraries said during the training, if anything."""
        return self.checkpoints.with_name(f"{self.checkpoints.name}.log")

    def to_json(self) -> str:
        """The job as text, for the processes that torchrun starts."""
        sections = {name: getattr(self, name).model_dump(mode="json") for name in ("section", "model", "lora")}
        paths = {name: str(getattr(self, name)) for name in PATHS}
        return json.dumps({"stage": self.stage, "base": self.base, "resume": self.resume} | paths | sections)

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """The job that `to_json` wrote."""
        fields = json.loads(text)
        fields |= {name: Path(fields[name]) for name in PATHS}
        fields["section"] = SECTIONS[fields["stage"]](**fields["section"])
        return cls(**fields | {"model": ModelSection(**fields["model"]), "lora": LoraSection(**fields["lora"])})

    def settings(self) -> dict[str, Any]:
        """What the result depends on, apart from base and data."""
        # With early stopping the checkpoints are what is chosen from.
        without_effect = WITHOUT_EFFECT - {"save_steps"} if self.section.early_stopping else WITHOUT_EFFECT
        section = self.section.model_dump(mode="json", exclude=without_effect)
        section = {key: value for key, value in section.items() if key not in NOT_IN_0_1_0 or value is not None}
        model, lora = self.model.model_dump(mode="json"), self.lora.model_dump(mode="json")
        return {"stage": self.stage, "section": section, "model": model, "lora": lora}
