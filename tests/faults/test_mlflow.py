"""A real MLflow server behind a door that is shut, slow or eats answers: a training goes on, its curve comes later."""

import http.client
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sap2.errors import TrackingError
from sap2.params import TrackingSection
from sap2.tracking import check_server, start_run
from sap2.tracking.runs import UNSENT, resend
from sap2.tracking.store import client

pytestmark = pytest.mark.long  # a server


class Door(ThreadingHTTPServer):
    """Passes requests on to a server; `fault` says what it does instead, from now on."""

    daemon_threads = True

    def __init__(self, port: int):
        self.port, self.fault, self.seen = port, None, 0
        super().__init__(("127.0.0.1", 0), Request)


class Request(BaseHTTPRequestHandler):
    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen += 1
        if self.server.fault == "shut":
            return self.close()
        if self.server.fault == "broken":
            return self.send_error(503)
        if self.server.fault == "slow":
            time.sleep(3)
        inner = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        inner.request(self.command, self.path, body, headers)
        answer = inner.getresponse()
        content = answer.read()
        if self.server.fault == "eats answers":
            return self.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def close(self):
        self.close_connection = True
        self.connection.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def log_message(self, *_):
        return


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The port of a server."""
    folder = tmp_path_factory.mktemp("mlflow")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
        port = probe.server_port
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(port), "--workers", "1"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 240
        while True:
            assert running.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield port
    finally:
        running.terminate()
        running.wait(30)


@pytest.fixture
def door(server, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with Door(server) as door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        yield door
        door.shutdown()


@pytest.fixture
def section(door, request):
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return TrackingSection(uri=f"http://127.0.0.1:{door.server_port}", experiment=name, model_name=name)


@pytest.mark.parametrize("fault", ["shut", "broken", "eats answers"])
def test_a_server_that_goes_away_in_the_middle_loses_nothing(door, section, tmp_path, capsys, fault):
    with start_run(section, "pruner", {"seed": 1}, tmp_path / "run.json") as tracker:
        tracker.log({"loss": 2.0}, 1)
        door.fault = fault
        started = time.monotonic()
        tracker.log({"loss": 1.0}, 2)
        assert time.monotonic() - started < 1
    said = capsys.readouterr().err
    [kept] = tmp_path.glob(f"*{UNSENT}")
    assert "the work goes on" in said and f'"sap2 resend {kept}" sends them' in said
    with pytest.raises(TrackingError, match="did not take"):
        resend(section, [kept])
    door.fault = None
    resend(section, [kept])
    run = client(section).get_run(tracker.run_id)
    history = client(section).get_metric_history(tracker.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(1, 2.0), (2, 1.0)]
    assert run.info.status == "FINISHED" and not kept.exists()


def test_a_slow_server_does_not_slow_a_training(door, section, tmp_path):
    with start_run(section, "pruner", {"seed": 1}, tmp_path / "run.json") as tracker:
        door.fault = "slow"
        started = time.monotonic()
        for step in range(100):
            tracker.log({"loss": 1.0}, step)
        assert time.monotonic() - started < 1
    assert len(client(section).get_metric_history(tracker.run_id, "loss")) == 100


def test_a_training_does_not_begin_on_a_server_that_is_away(door, section):
    door.fault = "shut"
    with pytest.raises(TrackingError, match="start the server, correct MLFLOW_TRACKING_URI"):
        check_server(section)
