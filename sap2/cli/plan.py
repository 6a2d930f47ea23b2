"""What a training would need."""

from pathlib import Path
from typing import Annotated

import typer

from sap2.cli.options import PARAMS, ParamsOption, ProfileOption, SetOption, load
from sap2.errors import InputError

app = typer.Typer()
MANIFEST = Path("data/lists/train.jsonl")


@app.command(epilog="Example: sap2 plan --profile qwen2-audio-7b --gpus 8")
def plan(
    gpus: Annotated[int | None, typer.Option(metavar="N", help="Processes, one a GPU; else nproc of params.")] = None,
    manifest: Annotated[
        Path, typer.Option(metavar="FILE", help="Training manifest to measure; lengths are assumed without one.")
    ] = MANIFEST,
    utterances: Annotated[
        int | None, typer.Option(metavar="N", help="Training utterances; else those of the manifest.")
    ] = None,
    tflops: Annotated[float, typer.Option(help="Peak of one GPU, 10^12 operations a second (A100: 312).")] = 312.0,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Say what a training would need.

    Parameters, GPU memory by ZeRO stage, tokens, steps and time, without a download and with its assumptions."""
    from sap2.training.plan import plan_training

    if manifest != MANIFEST and not manifest.is_file():
        raise InputError(f"{manifest}: no such manifest; correct --manifest, or leave it out")
    print(plan_training(load(params, profile, set_), gpus, manifest, tflops, utterances))
