"""What a step shows in Kubeflow's pages: figures, and its summary as a page."""

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sap2.constants import Seconds

__all__ = ["announce_champion", "announce_end", "log_figures", "show"]

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
    if status.state != "SUCCEEDED":
        _send(text)


def announce_champion(uri: str, verdict: str) -> str:
    """Print which version is the champion now, and send it to the address in SAP2_WEBHOOK; return it as Markdown.

    An address that does not take it is told, and stops nothing: the champion is in place.

    Args:
        verdict: The rules it held.
    """
    text = f'{uri} is the champion now; servers take it by themselves, "sap2 rollback" goes back.\n\n{verdict}'
    print(text)
    try:
        _send(text)
    except (OSError, ValueError) as error:  # ValueError: it is no address
        print(f"{WEBHOOK}: the announcement was not taken: {error}", file=sys.stderr)
    return text


def _send(text: str) -> None:
    address = os.environ.get(WEBHOOK)
    if address:
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=PATIENCE).close()
