"""Outputs of a step on Kubeflow's pages: figures, and its summary as Markdown."""

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sap2.constants import Seconds

__all__ = ["announce_end", "announce_verdict", "log_figures", "show"]

WEBHOOK = "SAP2_WEBHOOK"
TIMEOUT: Seconds = 10
# States of `PipelineTaskFinalStatus`: KFP's local runner says SUCCEEDED; a cluster gives ML Metadata's LastKnownState
# of the flow's DAG (kubeflow/pipelines 2.17, backend/src/v2/driver/resolve.go, `TaskFinalStatus`), and no error.
SUCCEEDED = {"SUCCEEDED", "COMPLETE", "CACHED"}
ENDS = {
    "FAILED": "a step failed",
    # A step's launcher sets the DAG's state when it publishes (metadata/client.go, `UpdateDAGExecutionsState`); the pod
    # of a killed step publishes nothing.
    "RUNNING": "a step was interrupted, its pod was killed or never started",
    "CANCELED": "it was cancelled",
}


def show(summary: Any, page: Any) -> None:
    """Print a stage's summary, and write it to the step's Markdown page."""
    print(summary)
    Path(page.path).write_text(f"```\n{summary}\n```\n", encoding="utf-8")


def log_figures(figures: Mapping[str, Any], metrics: Any) -> None:
    """Log the figures, named `context/figure`, without interval bounds."""
    from sap2.tracking.values import numbers

    for name, value in numbers(figures).items():
        if not name.endswith(("_low", "_high")):
            metrics.log_metric(name, value)


def announce_end(pipeline: str, profile: str, run: str, host: str, status: Any) -> None:
    """Print how a run ended; send failures to SAP2_WEBHOOK as `{"text": …}`, as chat services expect it.

    Args:
        run: The run's id.
        host: Address of Kubeflow's pages; may be empty.
        status: In a cluster without error text and with ML Metadata's state of the DAG, see `ENDS`.
    Raises: OSError: the address does not accept it.
    """
    if status.state in SUCCEEDED:
        print(f"{pipeline} (profile {profile}) succeeded; {_run(run, host)}")
        return
    how = ENDS.get(status.state, f"Kubeflow gives its state as {status.state}")
    error = f": {status.error_message}" if status.error_message else ""
    text = f"{pipeline} (profile {profile}) failed: {how}{error}; {_run(run, host)}"
    print(text)
    _send(text)


def announce_verdict(uri: str, promoted: bool, verdict: str, run: str, host: str) -> str:
    """Announce whether a version became the champion: print it, send it to SAP2_WEBHOOK, return it as Markdown.

    A failure to send is printed and stops nothing, as the registry has already changed.

    Args:
        verdict: The rules of the gate and their verdicts.
        run, host: See `announce_end`.
    """
    if promoted:
        news = f'{uri} is the champion now; servers switch to it automatically, "sap2 rollback" undoes it'
    else:
        news = f"{uri} was not promoted; the champion is unchanged"
    text = f"{news}; {_run(run, host)}.\n\n{verdict}"
    print(text)
    try:
        _send(text)
    except (OSError, ValueError) as error:  # ValueError: not an address
        print(f"{WEBHOOK}: the announcement could not be sent: {error}", file=sys.stderr)
    return text


def _run(run: str, host: str) -> str:
    """Format a run's id, with a link if the address of Kubeflow's pages is known."""
    return f"run {run}, {host.rstrip('/')}/#/runs/details/{run}" if host else f"run {run}"


def _send(text: str) -> None:
    address = os.environ.get(WEBHOOK)
    if address:
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
