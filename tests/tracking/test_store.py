"""An unusable store is an error before the training, with the way out."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sap2.errors import TrackingError
from sap2.params import TrackingSection
from sap2.tracking import check_server, start_run, tracking_uri
from sap2.tracking.store import fluent


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def web_server():
    """A server that answers everything with the given status."""

    class Answer(BaseHTTPRequestHandler):
        status = 404

        def do_GET(self):
            self.send_error(self.status)

        do_POST = do_GET

        def log_message(self, *_):
            return

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Answer
    server.shutdown()
    server.server_close()


def test_environment_wins_over_params(monkeypatch):
    section = TrackingSection(uri="sqlite:///here.db")
    assert tracking_uri(section) == "sqlite:///here.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking_uri(section) == "http://mlflow:5000"


def test_local_store_is_used_and_said(section, store, monkeypatch):
    assert check_server(section) == f"runs go to {store} (no server: MLFLOW_TRACKING_URI is not set)"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert check_server(section) == f"runs go to {store}"


def test_an_unreachable_server_fails_within_seconds(closed_port, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{closed_port}")
    started = time.monotonic()
    with pytest.raises(TrackingError) as failure:
        check_server(TrackingSection())
    assert time.monotonic() - started < 10
    assert f"tracking store http://***@127.0.0.1:{closed_port} cannot be reached" in str(failure.value)
    assert "start the server, correct MLFLOW_TRACKING_URI or tracking.uri, or use a local file" in str(failure.value)
    assert "secret" not in str(failure.value)
    assert os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") is None


@pytest.mark.parametrize("uri", ["postgresql://u:pw@127.0.0.1:{}/mlflow", "http://no-such-host.invalid"])
def test_unreachable_places_of_other_kinds_fail_alike(closed_port, uri):
    with pytest.raises(TrackingError, match="tracking store .* cannot be (reached|used)"):
        check_server(TrackingSection(uri=uri.format(closed_port)))


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_server_that_refuses_is_an_error(web_server, status):
    uri, answer = web_server
    answer.status = status
    with pytest.raises(TrackingError, match=f"tracking store {re.escape(uri)} cannot be used: .*{status}"):
        check_server(TrackingSection(uri=uri))


def test_file_that_is_no_database_is_an_error_and_stays(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes")
    with pytest.raises(TrackingError, match="notes.txt is not a SQLite database"):
        check_server(TrackingSection(uri=f"sqlite:///{path}"))
    assert path.read_text() == "not a database, but somebody's notes"


def test_a_deleted_experiment_states_how_to_restore_it(section, client):
    with start_run(section, "pruner"):
        pass
    experiment = client.get_experiment_by_name(section.experiment).experiment_id
    client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match=f"mlflow experiments restore --experiment-id {experiment}"):
        check_server(section)


def test_artifacts_lie_beside_the_database(section, client, store):
    with start_run(section, "pruner") as tracker:
        pass
    place = client.get_run(tracker.run_id).info.artifact_uri
    assert place.startswith("file://" + os.path.dirname(store.removeprefix("sqlite:///")) + "/mlartifacts/")


def test_fluent_mlflow_restores_the_environment(section, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", section.uri)
    with fluent(section) as mlflow:
        assert mlflow.get_tracking_uri() == section.uri
    assert os.environ["MLFLOW_TRACKING_URI"] == section.uri
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with fluent(section):
        pass
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_importing_the_room_imports_neither_mlflow_nor_torch():
    code = "import sys, sap2.tracking; print({'mlflow', 'torch', 'pandas', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
