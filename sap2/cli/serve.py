"""The HTTP server, and what is learnt from what it served."""

from pathlib import Path
from typing import Annotated

import typer

from sap2.cli.options import PARAMS, ParamsOption, ProfileOption, SetOption, finite, load

app = typer.Typer()
RequestsOption = Annotated[
    Path, typer.Option("--requests", metavar="DIR", help="Folder that `sap2 serve --requests DIR` wrote.")
]
feedback = typer.Typer(no_args_is_help=True, help="Learn from what was served.", rich_markup_mode=None)


@app.command(epilog="Example: sap2 serve --model models:/sap2-asr@champion")
def serve(
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="models:/NAME@ALIAS (followed), models:/NAME/VERSION, or a folder."),
    ] = "models",
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine only with SAP2_API_KEY set.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    max_batch: Annotated[int, typer.Option(min=1, help="Recordings recognised together; 1 = none.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Recordings that may wait; then 429.")] = 64,
    timeout: Annotated[
        float, typer.Option(min=1, callback=finite, help="Seconds from a request to its answer.")
    ] = 120.0,
    max_mb: Annotated[int, typer.Option("--max-mb", min=1, help="Megabytes of a request.")] = 64,
    max_minutes: Annotated[float, typer.Option(min=0.1, callback=finite, help="Minutes of a recording.")] = 10.0,
    max_keywords: Annotated[int, typer.Option(min=0, help="Keywords of a list.")] = 2000,
    poll: Annotated[
        float, typer.Option(min=0.1, callback=finite, help="Seconds between two looks at the alias.")
    ] = 5.0,
    requests: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep recordings, lists and texts, for monitor and feedback.")
    ] = None,
    indexes: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Lists that requests may name: NAME.index of `sap2 index`.")
    ] = None,
    index_mb: Annotated[
        int, typer.Option("--index-mb", min=1, help="Megabytes of memory for indexes; then the oldest goes.")
    ] = 1024,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Serve a model by OpenAI's transcription API.

    POST /v1/audio/transcriptions takes a recording and a keyword list; /docs describes it, /healthz, /readyz and
    /metrics are for operation. A new champion is taken without a pause. Keys of clients: SAP2_API_KEY."""
    from sap2.params import TrackingSection
    from sap2.serving.indexes import IndexFolder
    from sap2.serving.limits import Limits
    from sap2.serving.server import serve as run
    from sap2.settings import settings_overrides

    tracking = load(params, profile, set_).tracking if params.is_file() else TrackingSection()
    limits = Limits(
        max_bytes=max_mb << 20,
        max_duration=max_minutes * 60,
        max_keywords=max_keywords,
        timeout=timeout,
        queue=queue,
        max_batch=max_batch,
    )
    offered = IndexFolder(indexes, index_mb << 20) if indexes else None
    run(model, tracking, limits, host, port, poll, requests, offered, settings_overrides(set_ or ()))


@app.command(epilog="Example: sap2 monitor --requests served")
def monitor(
    requests: RequestsOption,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Show and log how what is served drifts.

    By day: requests with a found keyword, keywords found and kept of those listed, how sure stage 1 is, errors of
    corrected ones. The curves become a run in MLflow."""
    from sap2.serving import keeping
    from sap2.tracking.monitoring import drift, drift_table, log_drift

    figures = drift(keeping.requests(requests), keeping.corrections(requests))
    print(drift_table(figures))
    print(f"run: {log_drift(load(params, profile, set_).tracking, figures)}")


@feedback.command("add", epilog="Example: sap2 feedback add 4f1c… 'ask jon meyer' --requests served")
def feedback_add(
    id: Annotated[str, typer.Argument(metavar="ID", help="The answer's header x-sap2-id.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What was really said.")],
    requests: RequestsOption,
    manifest: Annotated[Path, typer.Option(metavar="FILE", help="Manifest that gains the utterance.")] = Path(
        "data/feedback.jsonl"
    ),
) -> None:
    """Add a corrected transcript to a manifest, as training data."""
    from sap2.serving.keeping import add_correction

    added = add_correction(requests, id, text, manifest)
    print(f"{manifest}: {added.id}: {added.text}")
