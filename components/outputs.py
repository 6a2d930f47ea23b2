"""What a step shows in Kubeflow's pages: figures, and its summary as a page."""

import json
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["announce_end", "log_figures", "show"]

Seconds = float
WEBHOOK = "SAP2_WEBHOOK"
PATIENCE: Seconds = 10


def show(summary: Any, page: Any) -> None:
    """Print a stage's summary and put it on the step's Markdown page."""
    print(summary)
    Path(page.path).write_text(f"```\n{summary}\n```\n", encoding="utf-8")


def log_figures(figures: Mapping[str, Any], metrics: Any) -> None:
    """Log the figures, named `context/figure`; the ends of intervals stay in the report."""
    from sap2.tracking.values import numbers

    for name, value in numbers(figures).items():
        if not name.endswith(("_low", "_high")):
            metrics.log_metric(name, value)


def announce_end(pipeline: str, profile: str, status: Any) -> None:
    """Print how a run ended; send a failure to the address in SAP2_WEBHOOK as `{"text": …}`, as chat services take it.

    Raises: OSError: the address does not take it.
    """
    text = f"{pipeline} (profile {profile}) ended: {status.state}"
    if status.error_message:
        text += f": {status.error_message}"
    print(text)
    address = os.environ.get(WEBHOOK)
    if address and status.state != "SUCCEEDED":
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=PATIENCE).close()
