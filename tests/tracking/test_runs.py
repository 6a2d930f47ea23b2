"""A run keeps a training's metrics, whatever the server does."""

import time

import pytest

from sap2.errors import InputError, TrackingError
from sap2.files import read_jsonl
from sap2.params import TrackingSection
from sap2.tracking import Tracker, start_run
from sap2.tracking.provenance import adapter_digest
from sap2.tracking.runs import ADAPTER_TAG, UNSENT, resend

PARAMS = {"pruner": {"learning_rate": 1e-4, "hub_token": "abc"}, "many": {f"k{i}": i for i in range(120)}}


class Server:
    """Stands for a client whose server can be down; keeps what arrived."""

    def __init__(self, down=False):
        self.down, self.metrics, self.batches, self.status, self.tags = down, [], 0, None, {}

    def log_batch(self, run_id, metrics):
        if self.down:
            raise ConnectionError("http://me:pw@host: connection refused\nand a page of trace")
        assert len(metrics) <= 1000
        self.batches += 1
        self.metrics += [(metric.key, metric.value, metric.step) for metric in metrics]

    def set_terminated(self, run_id, status, end_time):
        if self.down:
            raise ConnectionError("gone")
        self.status = status

    def set_tag(self, run_id, key, value):
        if self.down:
            raise ConnectionError("gone")
        self.tags[key] = value


def wait_until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_params_metrics_and_tags_arrive(section, client):
    with start_run(section, "pruner", PARAMS) as tracker:
        for step in range(3):
            tracker.log({"loss": 3.0 - step, "dev loss (b)": 1.0}, step=step)
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "pruner"
    assert run.data.params["pruner.learning_rate"] == "0.0001" and run.data.params["many.k119"] == "119"
    assert run.data.params["pruner.hub_token"] == "***"
    assert run.data.tags["sap2.stage"] == "pruner" and run.data.tags["mlflow.source.name"] == "sap2 pruner"
    history = client.get_metric_history(tracker.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert "dev loss _b_" in run.data.metrics


def test_only_an_interrupted_run_resumes(section, client, tmp_path):
    state = tmp_path / "pruner.json"
    with pytest.raises(KeyboardInterrupt), start_run(section, "pruner", PARAMS, state) as first:
        first.log({"loss": 2.0}, step=1)
        raise KeyboardInterrupt
    assert client.get_run(first.run_id).info.status == "KILLED"
    with start_run(section, "pruner", PARAMS, state) as second:
        assert client.get_run(second.run_id).info.status == "RUNNING"
        second.log({"loss": 1.0}, step=2)
    assert second.run_id == first.run_id
    assert [metric.step for metric in client.get_metric_history(first.run_id, "loss")] == [1, 2]
    assert not state.exists()
    with start_run(section, "pruner", PARAMS, state) as third:
        pass
    assert third.run_id != first.run_id


@pytest.mark.parametrize("change", ["params", "deleted", "broken"])
def test_another_training_does_not_resume_the_run(section, client, tmp_path, change):
    state = tmp_path / "pruner.json"
    with pytest.raises(ValueError, match="stop"), start_run(section, "pruner", {"seed": 1}, state) as first:
        raise ValueError("stop")
    assert client.get_run(first.run_id).info.status == "FAILED"
    if change == "deleted":
        client.delete_run(first.run_id)
    if change == "broken":
        state.write_text("{")
    with start_run(section, "pruner", {"seed": 2 if change == "params" else 1}, state) as second:
        pass
    assert second.run_id != first.run_id


def test_no_run_opens_on_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="cannot open a run"):
        with start_run(TrackingSection(uri="http://127.0.0.1:9"), "pruner"):
            pass


def test_logging_returns_at_once_and_metrics_go_in_batches(tmp_path):
    server = Server()
    tracker = Tracker(server, "run", tmp_path / "unsent.jsonl", flush_seconds=60)
    started = time.monotonic()
    for step in range(2500):
        tracker.log({"loss": 1.0}, step=step)
    assert time.monotonic() - started < 1
    tracker.close("FINISHED")
    assert [step for _, _, step in server.metrics] == list(range(2500))
    assert server.batches == 3 and server.status == "FINISHED"


def test_failing_server_stops_nothing_and_nothing_is_lost(tmp_path, capsys):
    server = Server(down=True)
    tracker = Tracker(server, "run", tmp_path / "unsent.jsonl", flush_seconds=0.01)
    tracker.log({"loss": 1.0}, step=1)
    wait_until(lambda: tracker._failing)
    server.down = False
    tracker.log({"loss": 0.5}, step=2)
    wait_until(lambda: len(server.metrics) == 2)
    assert tracker.close("FINISHED")
    assert server.metrics == [("loss", 1.0, 1), ("loss", 0.5, 2)]
    said = capsys.readouterr().err
    assert said.count("metrics cannot be sent, they are queued while the work continues: http://***@host") == 1
    assert said.count("metrics are being sent again") == 1


def test_unsent_metrics_are_sent_when_the_run_resumes(tmp_path, capsys):
    unsent = tmp_path / "unsent.jsonl"
    tracker = Tracker(Server(down=True), "run", unsent, flush_seconds=60)
    tracker.log({"loss": 1.0}, step=1)
    assert not tracker.close("FINISHED")
    said = capsys.readouterr().err
    assert f"1 metrics and the end of run run could not be sent; they are stored in {unsent}" in said
    assert f'"sap2 resend {unsent}" sends them' in said
    assert [row.get("value", row.get("status")) for _, row in read_jsonl(unsent)] == [1.0, "FINISHED"]
    server = Server()
    again = Tracker(server, "run", unsent, flush_seconds=60)
    again.log({"loss": 0.5}, step=2)
    assert again.close("FINISHED")
    assert server.metrics == [("loss", 1.0, 1), ("loss", 0.5, 2)]
    assert not unsent.exists()


def test_a_hanging_server_holds_up_the_end_of_a_run_only_so_long(tmp_path):
    class Hanging(Server):
        def log_batch(self, run_id, metrics):
            time.sleep(60)

    tracker = Tracker(Hanging(), "run", tmp_path / "unsent.jsonl", flush_seconds=60)
    tracker.log({"loss": 1.0}, step=1)
    started = time.monotonic()
    tracker.made(tmp_path)
    assert not tracker.close("KILLED", patience=0.2) and time.monotonic() - started < 5
    assert len(list(read_jsonl(tmp_path / "unsent.jsonl"))) == 3


def test_resending_unsent_metrics_is_idempotent(section, client, models, tmp_path):
    """Its curve, the adapter by which register finds it, and its end."""
    state = tmp_path / "pruner-run.json"
    with pytest.MonkeyPatch.context() as patch, start_run(section, "pruner", PARAMS, state) as tracker:
        patch.setattr(tracker, "_client", Server(down=True))
        patch.setattr(tracker, "_machine", None)
        tracker.log({"loss": 1.5}, step=7)
        tracker.made(models / "pruner")
    [kept] = tmp_path.glob(f"*{UNSENT}")
    assert client.get_run(tracker.run_id).info.status == "RUNNING"
    again = kept.with_name(f"again{UNSENT}")
    again.write_bytes(kept.read_bytes())
    assert resend(section, [kept]) == resend(section, [again]) == [tracker.run_id]
    assert not kept.exists() and not state.exists()
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.data.tags[ADAPTER_TAG] == adapter_digest(models / "pruner")
    assert [(metric.step, metric.value) for metric in client.get_metric_history(tracker.run_id, "loss")] == [(7, 1.5)]


def test_only_files_of_unsent_metrics_are_resent(section, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(InputError, match="rows.jsonl: not a file of unsent metrics"):
        resend(section, [tmp_path / "rows.jsonl"])


def test_metric_that_is_no_number_is_the_callers_error(tmp_path):
    tracker = Tracker(Server(), "run", tmp_path / "unsent.jsonl")
    with pytest.raises(ValueError):
        tracker.log({"loss": "low"}, step=1)
    tracker.close("FINISHED")


def test_a_training_logs_the_load_of_its_machine(section, client, tmp_path):
    with start_run(section, "pruner", state=tmp_path / "run.json") as tracker:
        tracker.log({"loss": 1.0}, 1)
    metrics = client.get_run(tracker.run_id).data.metrics
    assert "system/cpu_utilization_percentage" in metrics and metrics["system/system_memory_usage_megabytes"] > 0
