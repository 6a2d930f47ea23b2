"""Estimates of a training's resources."""

from pathlib import Path
from typing import Annotated

import typer

from sap2.cli.options import PARAMS, ParamsOption, ProfileOption, SetOption, load
from sap2.errors import InputError

app = typer.Typer()
MANIFEST = Path("data/lists/train.jsonl")


@app.command(epilog="Example: sap2 plan --profile qwen2-audio-7b --gpus 8")
def plan(
    gpus: Annotated[
        int | None, typer.Option(metavar="N", help="Processes, one per GPU; default: nproc of the params.")
    ] = None,
    manifest: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Training manifest for the lengths, which are assumed if it is missing."),
    ] = MANIFEST,
    utterances: Annotated[
        int | None, typer.Option(metavar="N", help="Training utterances; default: the manifest's.")
    ] = None,
    tflops: Annotated[float, typer.Option(help="Peak of a GPU, in 10^12 operations per second (A100: 312).")] = 312.0,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Estimate what a training needs.

    Parameters, GPU memory by ZeRO stage, tokens, steps and time, with all assumptions and without any download."""
    from sap2.training.plan import plan_training

    if manifest != MANIFEST and not manifest.is_file():
        raise InputError(f"{manifest}: no such manifest; correct --manifest, or omit it")
    print(plan_training(load(params, profile, set_), gpus, manifest, tflops, utterances))
