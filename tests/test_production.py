"""From two trainings to production and back, against a real MLflow server: promote, refuse, force, roll back, serve."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from sap2 import stages
from sap2.manifest import audio_path, read_manifest
from sap2.params import load_params
from sap2.tracking import load_registered
from sap2.tracking.aliases import aliases
from sap2.tracking.promotion import rollback
from sap2.tracking.store import client

PARAMS = Path(__file__).parent.parent / "params.yaml"
pytestmark = pytest.mark.slow  # two trainings, two servers


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def process(url: str, *command: str, cwd: Path):
    """A server that answers `url`, until the block ends."""
    log = cwd / f"{Path(command[2]).name}.log"
    with log.open("wb") as out:
        running = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=out, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while True:
            assert running.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait(10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder and the environment's MLflow server."""
    folder, port = tmp_path_factory.mktemp("production"), free_port()
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "kept")]
    with (
        pytest.MonkeyPatch.context() as patch,
        process(f"http://127.0.0.1:{port}/health", sys.executable, *command, cwd=folder),
    ):
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        patch.delenv("SAP2_PROFILE", raising=False)
        yield folder


@pytest.fixture(scope="module")
def params(folder):
    return load_params(PARAMS, "test")


@pytest.fixture(scope="module")
def trained(folder, params):
    """Two versions: the second one's recogniser was trained for a single step, on the same data and pruner."""
    stages.prepare(params.prepare)
    stages.lists(params.lists)
    stages.base(params.base)
    stages.train_pruner(params.pruner, params.model, params.lora, params.tracking)
    stages.prune(params.pruning)
    for again in (params, load_params(PARAMS, "test", ["recogniser.max_steps=1", "recogniser.seed=2"])):
        stages.train_recogniser(again.recogniser, again.model, again.lora, again.tracking)
        stages.decode(again.inference)
        stages.evaluate(again.evaluation)
        stages.register(again)
    return client(params.tracking)


@pytest.fixture(scope="module")
def champion(trained, params):
    """Version 1 in production, version 2 refused; then version 2 by force, and back."""
    gate = (params.gate, params.evaluation, params.tracking)
    first = stages.promote(*gate, version="1")
    refused = stages.promote(*gate)
    forced = stages.promote(*gate, force="to see the way back")
    back = rollback(params.tracking, "it was only a trial")
    return first.facts, refused.facts, forced.facts, back


def test_the_gate_lets_the_first_in_refuses_the_worse_and_lets_back(champion, trained, params):
    first, refused, forced, back = champion
    assert (first["promoted"], first["champion"]) == (True, 1)
    assert (refused["promoted"], refused["version"], refused["champion"], refused["against"]) == (False, 2, 1, 1)
    assert "broken" in refused["rules"] and "real-time factor" in refused["rules"]
    assert (forced["promoted"], forced["forced"], back) == (True, "to see the way back", (2, 1))
    assert aliases(trained, params.tracking.model_name) == {"champion": 1}
    tags = trained.get_model_version(params.tracking.model_name, "2").tags
    assert tags["sap2.rolled_back_why"] == "it was only a trial" and tags["sap2.refused_by"]


def test_a_pipelines_run_holds_its_stages_curves_and_data(trained, params):
    run = trained.get_run(trained.get_model_version(params.tracking.model_name, "1").run_id)
    assert run.info.run_name == "pipeline"
    experiment = run.info.experiment_id
    below = trained.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    names = {one.data.tags["sap2.stage"]: one for one in below}
    assert {"prepare", "pruner", "recogniser", "decode", "evaluate"} <= set(names)
    assert len(trained.get_metric_history(names["recogniser"].info.run_id, "dev_loss")) >= 1
    assert any(name.startswith("system/") for name in names["recogniser"].data.metrics)
    assert run.data.metrics["predicted/wer_low"] <= run.data.metrics["predicted/wer"]
    assert "predicted/real_time_factor" in run.data.metrics and len(run.inputs.dataset_inputs) == 3


@contextmanager
def serving(folder, params):
    port = free_port()
    command = ["-m", "sap2", "serve", "--model", f"models:/{params.tracking.model_name}@champion", "--port", str(port)]
    command += ["--params", str(PARAMS), "--poll", "0.3"]
    with process(f"http://127.0.0.1:{port}/readyz", sys.executable, *command, cwd=folder) as server:
        yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0), server


def test_the_champion_is_served_and_changed_under_load_without_a_lost_request(champion, folder, params):
    manifest = folder / "data" / "lists" / "test.jsonl"
    spoken = read_manifest(manifest)[:4]
    expected = load_registered(params.tracking, f"models:/{params.tracking.model_name}/1")
    with serving(folder, params) as (asking, server):

        def ask(one, **more):
            return asking.audio.transcriptions.with_raw_response.create(
                file=audio_path(one, manifest), model=params.tracking.model_name, prompt=", ".join(one.keywords), **more
            )

        for one in spoken:
            answer = ask(one)
            assert answer.headers["x-sap2-model"] == f"models:/{params.tracking.model_name}/1"
            assert answer.parse().text == expected(audio_path(one, manifest), one.keywords).text
        assert ask(spoken[0], response_format="vtt").text.startswith("WEBVTT\n")

        stop, heard, lost = threading.Event(), [], []

        def keep_asking(one):
            while not stop.is_set():
                try:
                    heard.append(ask(one).headers["x-sap2-model"].rpartition("/")[2])
                except openai.OpenAIError as error:
                    lost.append(error)

        threads = [threading.Thread(target=keep_asking, args=[one]) for one in spoken]
        for thread in threads:
            thread.start()
        promoted = stages.promote(
            params.gate, params.evaluation, params.tracking, version="2", force="a switch under load"
        )
        until = time.monotonic() + 90
        while "2" not in heard[-4:] and time.monotonic() < until:
            time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()
        assert promoted.facts["promoted"] and not lost
        assert heard[0] == "1" and set(heard) == {"1", "2"}
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) in (0, -signal.SIGTERM)
