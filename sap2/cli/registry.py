"""Model versions in MLflow: promotion, rollback, reproduction, publication, and upload of unsent metrics."""

from pathlib import Path
from typing import Annotated

import typer

from sap2.cli.options import PARAMS, ParamsOption, ProfileOption, SetOption, load

app = typer.Typer()
REFUSED = 3


@app.command(epilog="Example: sap2 resend models/.checkpoints/pruner-run.1a2b3c4d.unsent.jsonl")
def resend(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Files of unsent metrics; default: all in models/.checkpoints."),
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Upload metrics that runs could not send.

    If MLflow's server is unavailable, a training continues and stores its metrics in a file. `sap2 register` uploads
    them, too."""
    from sap2.stages import CHECKPOINTS
    from sap2.tracking.runs import UNSENT
    from sap2.tracking.runs import resend as send

    runs = send(load(params, profile, set_).tracking, files or sorted(CHECKPOINTS.glob(f"*{UNSENT}")))
    print(f"resend: {', '.join(runs) or 'no unsent metrics'}")


@app.command(epilog="Example: sap2 promote 7 --force 'the champion fails on German names'")
def promote(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="Number or alias; challenger is the newest version.")
    ] = "challenger",
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote regardless of the rules, and record the reason.")
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Make a version the champion, if it passes the gate.

    Compares it with the champion on the same test set, by the rules in the section `gate`: B-WER better by more than
    noise, WER and U-WER no worse than a margin, false alarms and time within limits. Exits 3 if it is rejected."""
    from sap2 import stages

    loaded = load(params, profile, set_)
    summary = stages.promote(loaded.gate, loaded.evaluation, loaded.tracking, version, force)
    print(summary)
    if not summary.facts["promoted"]:
        raise typer.Exit(REFUSED)


@app.command(epilog="Example: sap2 rollback --reason 'mishears numbers'")
def rollback(
    reason: Annotated[str, typer.Option(metavar="REASON", help="The reason, stored with the demoted version.")] = "",
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Make the previous champion the champion again."""
    from sap2.tracking.promotion import rollback as roll_back

    was, now = roll_back(load(params, profile, set_).tracking, reason)
    print(f"rollback: champion was version {was}, is version {now}")


@app.command(epilog="Example: sap2 models --profile qwen2-audio-7b")
def models(params: ParamsOption = PARAMS, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """List the registered versions, scores and aliases."""
    from sap2.tracking.promotion import versions, versions_table

    loaded = load(params, profile, set_)
    print(versions_table(versions(loaded.tracking), loaded.gate.context))


@app.command(epilog="Example: sap2 reproduce models:/sap2-asr@champion --run")
def reproduce(
    which: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a version's number, or models:/….")],
    run: Annotated[bool, typer.Option("--run", help="Run the commands instead of only printing them.")] = False,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Print the commands that reproduce a run.

    A shell script with its commit and changes, its params, and the hashes of its data. Each run gets its own work tree
    next to this repository."""
    from sap2.tracking.reproduce import recipe
    from sap2.tracking.reproduce import run as carry_out

    script = recipe(load(params, profile, set_).tracking, which)
    print(script)
    if run:
        carry_out(script)


@app.command(epilog="Example: sap2 push-to-hub my-lab/sap2-lectures")
def push_to_hub(
    repo: Annotated[
        str, typer.Argument(metavar="ID", help="The model's id on the Hugging Face hub, ORGANISATION/NAME.")
    ],
    models: Annotated[Path, typer.Option(metavar="DIR", help="Folder with base, pruner and recogniser.")] = Path(
        "models"
    ),
    lists: Annotated[Path, typer.Option(metavar="DIR", help="Folder with the data card.")] = Path("data/lists"),
    reports: Annotated[Path, typer.Option(metavar="DIR", help="Folder with the metrics.")] = Path("reports"),
    public: Annotated[bool, typer.Option("--public", help="Create the repository as public.")] = False,
) -> None:
    """Upload the models to the Hugging Face hub.

    With a card that states data, metrics and intended use. Log in first: hf auth login."""
    from sap2.publishing import publish

    print(f"push-to-hub: {publish(models, repo, lists, reports, private=not public)}")
