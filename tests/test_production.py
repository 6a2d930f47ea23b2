"""From two trainings to production and back, with a real MLflow server: promote, refuse, force, roll back, serve."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import openai
import pytest
from browser import browser_or_skip
from typer.testing import CliRunner

from sap2 import cli, stages
from sap2.data.audio import load_audio, save_audio
from sap2.manifest import audio_path, read_manifest
from sap2.params import load_params
from sap2.tracking import load_registered
from sap2.tracking.aliases import aliases
from sap2.tracking.promotion import rollback
from sap2.tracking.store import fluent, new_client

PARAMS = Path(__file__).parent.parent / "params.yaml"
pytestmark = pytest.mark.slow  # two trainings, two servers


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def process(url: str, *command: str, cwd: Path):
    """Run a server that responds at `url`, until the block ends."""
    log = cwd / f"{command[2]}-{command[3]}.log"
    # MLflow starts uvicorn by name, from the PATH.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("wb") as out:
        running = subprocess.Popen(command, cwd=cwd, env=environment, stdout=out, stderr=out, start_new_session=True)
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
    """Two versions; the recogniser of the second was trained for a single step, with the same data and pruner."""
    stages.prepare(params.prepare)
    stages.lists(params.lists)
    stages.base(params.base)
    stages.train_pruner(params.pruner, params.model, params.lora, params.tracking)
    stages.prune(params.pruning)
    for again in (params, load_params(PARAMS, "test", ["recogniser.max_steps=1", "recogniser.seed=2"])):
        stages.train_recogniser(again.recogniser, again.model, again.lora, again.tracking)
        stages.decode(again.inference)
        stages.settings()
        stages.evaluate(again.evaluation)
        stages.register(again)
    return new_client(params.tracking)


@pytest.fixture(scope="module")
def champion(trained, params):
    """Promote version 1; version 2 is refused, then promoted by force and rolled back."""
    gate = (params.gate, params.evaluation, params.tracking)
    first = stages.promote(*gate, version="1")
    refused = stages.promote(*gate)
    forced = stages.promote(*gate, force="to see the way back")
    back = rollback(params.tracking, "it was only a trial")
    return first.facts, refused.facts, forced.facts, back


def test_the_gate_accepts_refuses_and_rolls_back(champion, trained, params):
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
    names = {item.data.tags["sap2.stage"]: item for item in below}
    assert {"prepare", "pruner", "recogniser", "decode", "evaluate"} <= set(names)
    assert len(trained.get_metric_history(names["recogniser"].info.run_id, "dev_loss")) >= 1
    assert any(name.startswith("system/") for name in names["recogniser"].data.metrics)
    assert run.data.metrics["predicted/wer_low"] <= run.data.metrics["predicted/wer"]
    assert "predicted/real_time_factor" in run.data.metrics and len(run.inputs.dataset_inputs) == 3


@pytest.fixture(scope="module")
def browser():
    with browser_or_skip() as browser:
        browser.look(1100, 1180)
        yield browser


def page(browser, path: str, *told: str, picture: str | None = None) -> str:
    """Wait until an MLflow page shows all these texts, and return its text."""
    browser.open("about:blank")  # paths are fragments of a single page, which would not be reloaded
    browser.open(f"{os.environ['MLFLOW_TRACKING_URI']}/#/{path}")
    shown = "document.body.innerText.replace(/\\s+/g, ' ')"
    browser.wait_for(f"{json.dumps(told)}.every(text => {shown}.includes(text))", 90)
    if picture and (folder := os.environ.get("SAP2_SCREENSHOTS")):  # for docs/images
        browser.value("document.querySelector('[data-component-id$=\"assistant.chat_panel.close\"]')?.click()")
        time.sleep(2)
        browser.screenshot(Path(folder) / picture)
    return browser.value(shown)


def test_mlflow_pages_state_training_scores_and_verdict(browser, champion, trained, params):
    name = params.tracking.model_name
    run = trained.get_run(trained.get_model_version(name, "1").run_id)
    wer, b_wer = (run.data.metrics[f"predicted/{figure}"] for figure in ("wer", "b_wer"))
    about = (
        f"WER {wer:.2f} %, B-WER {b_wer:.2f} % with both stages",
        "Data lectures, keyword lists of 10; 8 test utterances",
        "Base embedded",
        "Adapters LoRA, rank 32; pruner 3 steps; recogniser 3 steps",
    )
    stages_below = ("pruner", "recogniser", "decode", "evaluate")
    path = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    page(browser, path, *about, *stages_below, "Finished", f"{name} v1", picture="mlflow-run.png")

    verdict = ("@ champion", "At the gate passed, as the first version", "all 4 rules hold")
    shown = page(browser, f"models/{name}/versions/1", *about, *verdict, picture="mlflow-model.png")
    for rule in (
        "B-WER % at most",
        "WER % at most",
        "false alarms / 100 utterances at most",
        "real-time factor at most",
    ):
        assert re.search(rf"{rule} \d+ [\d.]+ holds", shown), rule

    forced = "passed by force: to see the way back, compared with version 1"
    page(browser, f"models/{name}/versions/2", forced, "broken", "it was only a trial")
    page(browser, f"models/{name}", "Version 1", "Version 2", "champion is in production")


def test_mlflow_serves_the_version_and_answers_its_input_example(champion, folder, params):
    """Run `mlflow models serve`, and send the version's own input example: audio in base64."""
    manifest = folder / "data" / "lists" / "test.jsonl"
    first, uri = read_manifest(manifest)[0], f"models:/{params.tracking.model_name}/1"
    with fluent(params.tracking) as mlflow:
        local = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder / "version")))
        example = mlflow.models.Model.load(str(local)).load_input_example(str(local))
    assert example["keywords"].tolist() == [", ".join(first.keywords)]
    heard = load_registered(params.tracking, uri)(audio_path(first, manifest), first.keywords)
    whole = {"text": heard.text, "found": heard.found, "predicted": heard.predicted}
    port = free_port()
    command = ["-m", "mlflow", "models", "serve", "--model-uri", uri, "--env-manager", "local", "--port", str(port)]
    with process(f"http://127.0.0.1:{port}/ping", sys.executable, *command, cwd=folder):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", (local / "serving_input_example.json").read_bytes(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert json.load(answer) == {"predictions": [whole]}


@contextmanager
def serving(folder, params):
    port = free_port()
    command = ["-m", "sap2", "serve", "--model", f"models:/{params.tracking.model_name}@champion", "--port", str(port)]
    command += ["--params", str(PARAMS), "--poll", "0.3", "--requests", str(folder / "served")]
    with process(f"http://127.0.0.1:{port}/readyz", sys.executable, *command, cwd=folder) as server:
        yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0), server


@pytest.fixture(scope="module")
def served(champion, folder, params):
    with serving(folder, params) as served:
        yield served


def test_a_long_recording_is_served_with_increasing_times(served, folder):
    client, _ = served
    manifest = folder / "data" / "lists" / "test.jsonl"
    spoken = read_manifest(manifest)
    pause = np.zeros(8_000, np.float32)
    long = np.concatenate(
        [wave for utterance in spoken for wave in (load_audio(audio_path(utterance, manifest)), pause)]
    )
    save_audio(folder / "long.wav", long)
    duration = len(long) / 16_000
    assert duration > 10

    def ask(response_format):
        return client.audio.transcriptions.create(
            file=folder / "long.wav", model="whisper-1", prompt=", ".join(spoken[0].keywords),
            response_format=response_format,
        )  # fmt: skip

    cues = re.findall(r"(\d+)\n(\d+):(\d+):(\d+),(\d+) --> (\d+):(\d+):(\d+),(\d+)\n(.+)\n", ask("srt"))
    assert [int(cue[0]) for cue in cues] == list(range(1, len(cues) + 1)) and len(cues) >= 3
    times = [
        [int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000 for h, m, s, ms in (cue[1:5], cue[5:9])] for cue in cues
    ]
    flat = [moment for cue in times for moment in cue]
    assert flat == sorted(flat) and all(start < end for start, end in times) and flat[-1] <= duration + 0.1
    answer = ask("verbose_json")
    segments = [(segment.start, segment.end) for segment in answer.segments]
    assert abs(answer.duration - duration) < 0.01 and len(segments) >= len(cues)
    assert segments == sorted(segments) and all(start < end for start, end in segments)
    assert [cue[-1] for cue in cues] == [segment.text for segment in answer.segments if segment.text]


def test_requests_are_stored_monitored_and_corrected(served, folder, trained):
    """Use the commands serve --requests, monitor and feedback add, and check the manifest."""
    client, _ = served
    manifest = folder / "data" / "lists" / "test.jsonl"
    utterance = read_manifest(manifest)[0]
    answer = client.audio.transcriptions.with_raw_response.create(
        file=audio_path(utterance, manifest), model="whisper-1", prompt=", ".join(utterance.keywords)
    )
    id_ = answer.headers["x-sap2-id"]

    def sap2(*arguments):
        done = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    added = folder / "data" / "feedback.jsonl"
    said = sap2(
        "feedback",
        "add",
        id_,
        f"{utterance.text} indeed",
        "--requests",
        str(folder / "served"),
        "--manifest",
        str(added),
    )
    assert f"{added}: {id_}: {utterance.text} indeed" in said
    [row] = read_manifest(added)
    assert (row.id, row.text, row.keywords) == (id_, f"{utterance.text} indeed", utterance.keywords)
    assert np.allclose(load_audio(audio_path(row, added)), load_audio(audio_path(utterance, manifest)), atol=1e-3)
    output = sap2("monitor", "--requests", str(folder / "served"), "--params", str(PARAMS), "--profile", "test")
    run = trained.get_run(re.search(r"run: (?:\S*/)?([0-9a-f]{32})", output)[1])
    assert run.info.status == "FINISHED" and run.data.metrics


def test_switching_champions_under_load_loses_no_request(served, folder, params):
    manifest = folder / "data" / "lists" / "test.jsonl"
    spoken = read_manifest(manifest)[:4]
    expected = load_registered(params.tracking, f"models:/{params.tracking.model_name}/1")
    client, server = served

    def ask(utterance, **more):
        return client.audio.transcriptions.with_raw_response.create(
            file=audio_path(utterance, manifest),
            model=params.tracking.model_name,
            prompt=", ".join(utterance.keywords),
            **more,
        )

    for utterance in spoken:
        answer = ask(utterance)
        assert answer.headers["x-sap2-model"] == f"models:/{params.tracking.model_name}/1"
        assert answer.parse().text == expected(audio_path(utterance, manifest), utterance.keywords).text
    assert ask(spoken[0], response_format="vtt").text.startswith("WEBVTT\n")

    stop, heard, lost = threading.Event(), [], []

    def keep_asking(utterance):
        while not stop.is_set():
            try:
                heard.append(ask(utterance).headers["x-sap2-model"].rpartition("/")[2])
            except openai.OpenAIError as error:
                lost.append(error)

    threads = [threading.Thread(target=keep_asking, args=[utterance]) for utterance in spoken]
    for thread in threads:
        thread.start()
    promoted = stages.promote(params.gate, params.evaluation, params.tracking, version="2", force="a switch under load")
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
