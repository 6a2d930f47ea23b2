"""The server process: its address, API keys, logging and shutdown."""

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


KEYS_VARIABLE = "SAP2_API_KEY"  # API keys, separated by commas
PROBES = {"/healthz", "/readyz", "/metrics"}  # requested every few seconds, so excluded from the access log


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
    """Serve a model until the process is stopped; requests in progress are then finished.

    Args:
        keep: Folder in which requests and answers are stored; None = nothing is stored.
        indexes: Keyword indexes that requests may name.
        overrides: Changes to the model's settings, such as `inference.num_beams=4`.
    Raises: InputError: the host is public but no API key is set. SapError: the model cannot be loaded.
    """
    keys = [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip()]
    if not keys and not _loopback(host):
        raise InputError(
            f"--host {host} admits other machines, but {KEYS_VARIABLE} is not set; set it to a key that clients must "
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
    logging.getLogger("uvicorn.access").addFilter(_is_not_probe)
    server.run()
    if app.state.service.failed is not None:
        raise app.state.service.failed


def _is_not_probe(record: logging.LogRecord) -> bool:
    # uvicorn's arguments: client, method, path, HTTP version, status
    return not isinstance(record.args, tuple) or len(record.args) < 3 or record.args[2] not in PROBES


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
