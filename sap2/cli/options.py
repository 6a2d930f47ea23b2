"""Options and checks shared by several groups of commands."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sap2.params import Params

ParamsOption = Annotated[Path, typer.Option("--params", metavar="FILE", help="The params file.")]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="NAME", help="Profile of the params file; default: SAP2_PROFILE, or the file's default."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-S", metavar="KEY=VALUE", help="Override a param, such as inference.num_beams=2. Repeatable."
    ),
]
ModelSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-S",
        metavar="KEY=VALUE",
        help="Override a setting of the model, such as inference.num_beams=2. Repeatable.",
    ),
]
PARAMS = Path("params.yaml")


def load(path: Path, profile: str | None, overrides: list[str] | None) -> "Params":
    """Read the params file with the chosen profile and overrides."""
    from sap2.params import load_params

    return load_params(path, profile, overrides or ())


def setting_changes(
    overrides: list[str] | None, max_segment: float | None = None, segment_overlap: float | None = None
) -> list[str]:
    """Return a command's changes to the settings of a model as KEY=VALUE texts."""
    options = {"max_segment": max_segment, "segment_overlap": segment_overlap}
    return [*(overrides or ()), *(f"inference.{name}={value}" for name, value in options.items() if value is not None)]


def finite(value: float | None) -> float | None:
    """Reject nan and infinity, which pass typer's bounds."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value
