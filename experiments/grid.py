"""Typed reader of experiments/grid.yaml: which models are trained, and what they are tested with."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sap2.errors import ParamsError
from sap2.params import Params, load_params

__all__ = ["Grid", "Training", "load_grid"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Strict):
    """A model to train."""

    says: str  # description, for the tables
    params: list[str] = []  # section.key=value, as `sap2 --set` takes them
    sizes: list[int] = []  # list sizes it is tested with, from `Sizes.lists`


class Sizes(_Strict):
    """Lists of several lengths for the first utterances of a test set."""

    of: int
    lists: list[int]


class Grid(_Strict):
    """All trainings and test sets."""

    profile: str
    seeds: list[int]
    common: list[str]
    corpora: dict[str, list[str]]
    every: int = Field(1, ge=1)  # of the test splits, every Nth utterance is used
    sizes: Sizes
    trainings: dict[str, Training]
    main: list[str]  # trained with every seed
    more: list[str]  # trained with the first seed
    again: list[str]  # not trained: the models of the first training and seed, tested with other params

    @model_validator(mode="after")
    def _names_are_known(self) -> "Grid":
        if sorted([*self.main, *self.more, *self.again]) != sorted(self.trainings):
            raise ValueError("main, more and again must together name each of trainings once")
        for name, training in self.trainings.items():
            if strange := sorted(set(training.sizes) - set(self.sizes.lists)):
                raise ValueError(f"trainings.{name}.sizes has {strange}, expected sizes in sizes.lists")
        return self

    @property
    def first(self) -> str:
        """The corpus of the trainings."""
        return next(iter(self.corpora))

    def runs(self) -> list[tuple[str, int]]:
        """Return each tested training with its seeds."""
        return [(name, seed) for name in self.main for seed in self.seeds] + [
            (name, self.seeds[0]) for name in (*self.more, *self.again)
        ]

    def models(self, name: str, seed: int) -> str:
        """Return the folder of the models that a training is tested with."""
        return f"{self.main[0] if name in self.again else name}-{seed}"

    def params(self, *changes: str) -> Params:
        """Load the profile's params with `common` and these changes."""
        return load_params("params.yaml", self.profile, [*self.common, *changes])


def load_grid(path: Path | str) -> Grid:
    """Read a grid.

    Raises: ParamsError: an unknown key or training, or a value of the wrong type; the message names the file and the
    key.
    """
    try:
        return Grid.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the grid"
        raise ParamsError(f"{path}: {where}: {first['msg']}") from error
