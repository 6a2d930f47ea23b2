"""The HTTP server, drift metrics of its requests, and training data from corrections."""

from pathlib import Path
from typing import Annotated

import typer

from sap2.cli.options import PARAMS, ParamsOption, ProfileOption, SetOption, finite, load

app = typer.Typer()
RequestsOption = Annotated[
    Path, typer.Option("--requests", metavar="DIR", help="Folder written by `sap2 serve --requests DIR`.")
]
feedback = typer.Typer(no_args_is_help=True, help="Collect training data from served requests.", rich_markup_mode=None)


@app.command(epilog="Example: sap2 serve --model models:/sap2-asr@champion")
def serve(
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="models:/NAME@ALIAS (followed), models:/NAME/VERSION, a folder, or english (contained).",
        ),
    ] = "models",
    host: Annotated[str, typer.Option(help="Address to listen on; other machines need SAP2_API_KEY.")] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    max_batch: Annotated[int, typer.Option(min=1, help="Maximum recordings per batch; 1 = no batching.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Maximum queued recordings; more get status 429.")] = 64,
    timeout: Annotated[
        float, typer.Option(min=1, callback=finite, help="Maximum seconds from a request to its response.")
    ] = 120.0,
    max_mb: Annotated[int, typer.Option("--max-mb", min=1, help="Maximum megabytes of a request.")] = 64,
    max_minutes: Annotated[
        float, typer.Option(min=0.1, callback=finite, help="Maximum minutes of a recording.")
    ] = 10.0,
    max_keywords: Annotated[int, typer.Option(min=0, help="Maximum keywords in a list.")] = 2000,
    poll: Annotated[
        float, typer.Option(min=0.1, callback=finite, help="Seconds between two queries of the alias.")
    ] = 5.0,
    requests: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Store recordings, lists and texts, for monitor and feedback.")
    ] = None,
    indexes: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of NAME.index files by `sap2 index`, which requests may name."),
    ] = None,
    index_mb: Annotated[
        int,
        typer.Option(
            "--index-mb", min=1, help="Maximum megabytes of loaded indexes; the least recently used is unloaded."
        ),
    ] = 1024,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Serve a model by OpenAI's transcription API.

    POST /v1/audio/transcriptions takes a recording and a keyword list; /docs describes it, /healthz, /readyz and
    /metrics are for operation. A new champion is loaded without interruption. Clients' keys: SAP2_API_KEY."""
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
    index_folder = IndexFolder(indexes, index_mb << 20) if indexes else None
    run(model, tracking, limits, host, port, poll, requests, index_folder, settings_overrides(set_ or ()))


@app.command(epilog="Example: sap2 monitor --requests served")
def monitor(
    requests: RequestsOption,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Print and log drift metrics of served requests.

    By day: requests with a recognised keyword, shares of listed keywords recognised and selected, confidence of
    stage 1, word errors of corrected requests. The curves become a run in MLflow."""
    from sap2.serving import keeping
    from sap2.tracking.monitoring import drift, drift_table, log_drift

    figures = drift(keeping.requests(requests), keeping.corrections(requests))
    print(drift_table(figures))
    print(f"run: {log_drift(load(params, profile, set_).tracking, figures)}")


@feedback.command("add", epilog="Example: sap2 feedback add 4f1c… 'ask jon meyer' --requests served")
def feedback_add(
    id: Annotated[str, typer.Argument(metavar="ID", help="The answer's header x-sap2-id.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The correct transcript.")],
    requests: RequestsOption,
    manifest: Annotated[Path, typer.Option(metavar="FILE", help="Manifest to extend.")] = Path("data/feedback.jsonl"),
) -> None:
    """Add a corrected transcript to a manifest, as training data."""
    from sap2.serving.keeping import add_correction

    added = add_correction(requests, id, text, manifest)
    print(f"{manifest}: {added.id}: {added.text}")
