"""A real MLflow server behind a shut, slow or lossy proxy: a training continues, and its curve is sent later."""

import time

import pytest
from mlflow_server import FaultyProxy, running

from sap2.errors import TrackingError
from sap2.params import TrackingSection
from sap2.tracking import check_server, start_run
from sap2.tracking.runs import UNSENT, resend
from sap2.tracking.store import new_client

pytestmark = pytest.mark.long  # a server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The port of a server."""
    with running(tmp_path_factory.mktemp("mlflow")) as port:
        yield port


@pytest.fixture
def proxy(server, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with FaultyProxy(server).started() as proxy:
        yield proxy


@pytest.fixture
def section(proxy, request):
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return TrackingSection(uri=f"http://127.0.0.1:{proxy.server_port}", experiment=name, model_name=name)


@pytest.mark.parametrize("fault", ["closed", "error", "no response"])
def test_a_server_that_goes_away_in_the_middle_loses_nothing(proxy, section, tmp_path, capsys, fault):
    with start_run(section, "pruner", {"seed": 1}, tmp_path / "run.json") as tracker:
        tracker.log({"loss": 2.0}, 1)
        proxy.fault = fault
        started = time.monotonic()
        tracker.log({"loss": 1.0}, 2)
        assert time.monotonic() - started < 1
    said = capsys.readouterr().err
    [kept] = tmp_path.glob(f"*{UNSENT}")
    assert "the work continues" in said and f'"sap2 resend {kept}" sends them' in said
    with pytest.raises(TrackingError, match="did not accept"):
        resend(section, [kept])
    proxy.fault = None
    resend(section, [kept])
    run = new_client(section).get_run(tracker.run_id)
    history = new_client(section).get_metric_history(tracker.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 2.0), (2, 1.0)]
    assert run.info.status == "FINISHED" and not kept.exists()


def test_a_slow_server_does_not_slow_a_training(proxy, section, tmp_path):
    with start_run(section, "pruner", {"seed": 1}, tmp_path / "run.json") as tracker:
        proxy.fault = "slow"
        started = time.monotonic()
        for step in range(100):
            tracker.log({"loss": 1.0}, step)
        assert time.monotonic() - started < 1
    assert len(new_client(section).get_metric_history(tracker.run_id, "loss")) == 100


def test_a_training_does_not_begin_on_a_server_that_is_away(proxy, section):
    proxy.fault = "closed"
    with pytest.raises(TrackingError, match="start the server, correct MLFLOW_TRACKING_URI"):
        check_server(section)
