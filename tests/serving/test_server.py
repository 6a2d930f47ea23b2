"""Access to the server by address and key, and errors at its start."""

import socket

import pytest

from sap2.errors import InputError, ModelError
from sap2.params import TrackingSection
from sap2.serving.limits import Limits
from sap2.serving.server import serve


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_public_addresses_need_a_key(monkeypatch, host):
    monkeypatch.delenv("SAP2_API_KEY", raising=False)
    with pytest.raises(InputError, match="SAP2_API_KEY is not set"):
        serve("models", TrackingSection(), Limits(), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_model_that_cannot_be_loaded_stops_the_server(monkeypatch, tmp_path, host):
    monkeypatch.delenv("SAP2_API_KEY", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelError, match="has no base and no pruner and no recogniser"):
        serve(str(tmp_path), TrackingSection(), Limits(), host, port)
