"""The server as a process: where it listens, who may ask, and how it ends."""

import ipaddress
import logging
import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from sap2.constants import Seconds
from sap2.errors import InputError
from sap2.params import TrackingSection
from sap2.serving.app import create_app
from sap2.serving.indexes import IndexFolder
from sap2.serving.keeping import Keeper
from sap2.serving.limits import Limits
from sap2.serving.models import ModelSource

__all__ = ["KEYS_VARIABLE", "serve"]


KEYS_VARIABLE = "SAP2_API_KEY"  # one key, or several separated by commas
PROBES = {"/healthz", "/readyz", "/metrics"}  # asked every few seconds: their answers are not worth a line of log


def serve(
    model: str,
    tracking: TrackingSection,
    limits: Limits,
    host: str = "127.0.0.1",
    port: int = 8000,
    poll: Seconds = 5.0,
    keep: Path | None = None,
    indexes: IndexFolder | None = None,
    overrides: Sequence[str] = (),
) -> None:
    """Serve a model until the process is told to stop; then finish what was begun.

    Args:
        keep: Folder in which what is served is kept; None = nothing is.
        indexes: Keyword lists that requests may name.
        overrides: Changes of the model's settings, as `inference.num_beams=4`.
    Raises: InputError: the world could ask and no key is set. SapError: the model cannot be loaded.
    """
    keys = [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip()]
    if not keys and not _loopback(host):
        raise InputError(
            f"--host {host} lets other machines in and {KEYS_VARIABLE} is not set; set it to a key that clients must "
            "send, or serve on 127.0.0.1 alone"
        )
    server: uvicorn.Server

    def give_up() -> None:
        server.should_exit = True

    source = ModelSource(model, tracking, overrides)
    app = create_app(source, limits, keys, poll, Keeper(keep) if keep else None, give_up, indexes)
    log = deepcopy(LOGGING_CONFIG)
    log["handlers"]["access"]["stream"] = "ext://sys.stderr"
    server = uvicorn.Server(
        uvicorn.Config(
            app, host, port, log_config=log, server_header=False, timeout_keep_alive=30,
            timeout_graceful_shutdown=int(limits.timeout) + 1,
        )
    )  # fmt: skip
    logging.getLogger("uvicorn.access").addFilter(lambda record: record.args[2] not in PROBES)
    server.run()
    if app.state.service.failed is not None:
        raise app.state.service.failed


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
