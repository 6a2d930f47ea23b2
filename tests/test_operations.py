"""docs/operations.md: backup and restore work as written, and the page documents exactly the existing alarms."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import compose_services
import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def commands(heading: str) -> str:
    """Return the shell blocks below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


def sh(folder: Path, text: str, *programs: Path, **more: str) -> None:
    """Run shell commands with the environment's programs and those in other folders."""
    path = os.pathsep.join([*map(str, programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-ec", text], cwd=folder, env=os.environ | more | {"PATH": path}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder with a registered version in its SQLite store, data that DVC tracks, and a remote."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.jsonl").write_text('{"id": "a"}\n')
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text(
        "[core]\n no_scm = true\n analytics = false\n remote = store\n"
        f"['remote \"store\"']\n url = {tmp_path / 'remote'}\n"
    )
    sh(folder, "dvc add --quiet data")
    monkeypatch.chdir(folder)
    # In a process of its own: MLflow keeps the store of a URI, and a relative one is another file in another folder.
    subprocess.run([sys.executable, "-c", REGISTER], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    return folder


REGISTER = """
from mlflow import MlflowClient
from sap2.params import TrackingSection
from sap2.tracking import check_server
from sap2.tracking.store import experiment_id
section = TrackingSection(uri="sqlite:///mlruns.db")
check_server(section)
client = MlflowClient(section.uri)
run = client.create_run(experiment_id(client, section)).info.run_id
client.log_text(run, "weights", "model/weights.txt")
client.create_registered_model("sap2-asr")
client.create_model_version("sap2-asr", f"runs:/{run}/model", run_id=run)
client.set_registered_model_alias("sap2-asr", "champion", "1")
"""
READ = """
import mlflow
from mlflow import MlflowClient
client = MlflowClient("sqlite:///mlruns.db")
mlflow.set_tracking_uri("sqlite:///mlruns.db")
version = client.get_model_version_by_alias("sap2-asr", "champion")
path = mlflow.artifacts.download_artifacts(run_id=version.run_id, artifact_path="model/weights.txt")
assert open(path).read() == "weights"
"""


def test_a_backup_is_restored_as_the_page_says(repository, tmp_path):
    sh(repository, commands("Backup"))
    kept = shutil.copytree(repository / "backup", tmp_path / "elsewhere")
    tracked = (repository / "data.dvc").read_text(), (repository / ".dvc" / "config").read_text()
    shutil.rmtree(repository)
    (repository / ".dvc").mkdir(parents=True)  # a new checkout of the repository
    (repository / "data.dvc").write_text(tracked[0])
    (repository / ".dvc" / "config").write_text(tracked[1])
    shutil.copytree(kept, repository / "backup")
    sh(repository, commands("Restore"))
    assert (repository / "data" / "train.jsonl").read_text() == '{"id": "a"}\n'
    subprocess.run([sys.executable, "-c", READ], cwd=repository, check=True)


COMPOSE = f"""#!/bin/sh
# Fake `docker compose` that runs the commands of the services started by the test.
set -eu
shift
verb=$1
shift
case $verb in
up) ;;
exec) shift 2; exec "$@" ;;
run)
    while [ "${{1#-}}" != "$1" ]; do shift; done
    shift
    [ $# -gt 0 ] || set -- "$BUCKET"
    exec {shlex.quote(sys.executable)} -c "$@"
    ;;
esac
"""
SERVER = compose_services.missing("postgresql", "seaweedfs")


@pytest.mark.slow
@pytest.mark.skipif(SERVER is not None, reason=str(SERVER))
def test_a_servers_backup_is_restored_as_the_page_says(tmp_path):
    """Back up a real PostgreSQL and SeaweedFS, and restore into empty ones."""
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts

    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(COMPOSE)
    docker.chmod(0o755)
    (tmp_path / "deploy").mkdir()
    shutil.copy2(ROOT / "deploy" / "objects.py", tmp_path / "deploy")
    [bucket] = compose_services.service("bucket")["command"]

    def run(heading: str, database, objects) -> None:
        environment = database.environment | objects.environment | {"BUCKET": bucket}
        sh(tmp_path, commands(heading), docker.parent, database.binaries, **environment)

    large = bytes(range(256)) * 40_000  # more than a part of an upload
    (tmp_path / "weights").write_bytes(large)
    with compose_services.database() as database, compose_services.objects() as objects:
        with compose_services.mlflow(database, objects) as port:
            store = MlflowClient(f"http://127.0.0.1:{port}")
            run_id = store.create_run("0").info.run_id
            store.log_artifact(run_id, str(tmp_path / "weights"), "model")
            store.create_registered_model("sap2-asr")
            store.create_model_version("sap2-asr", f"runs:/{run_id}/model", run_id=run_id)
            store.set_registered_model_alias("sap2-asr", "champion", "1")
        run("Backup of an MLflow server", database, objects)
    with compose_services.database() as database, compose_services.objects() as objects:
        run("Restore of an MLflow server", database, objects)
        with compose_services.mlflow(database, objects) as port:
            uri = f"http://127.0.0.1:{port}"
            version = MlflowClient(uri).get_model_version_by_alias("sap2-asr", "champion")
            artifacts = {"run_id": version.run_id, "artifact_path": "model/weights", "dst_path": str(tmp_path / "new")}
            assert Path(download_artifacts(**artifacts, tracking_uri=uri)).read_bytes() == large


def test_every_alarm_uses_known_metrics_and_is_documented():
    from prometheus_client import generate_latest
    from ruamel.yaml import YAML
    from transcription_server import Model

    from sap2.serving.app import Metrics
    from sap2.serving.engine import Engine
    from sap2.serving.limits import Limits

    metrics = Metrics(lambda: Engine(Limits()))
    metrics.requests.labels("/v1/audio/transcriptions", 200).inc()
    metrics.latency.labels("/v1/audio/transcriptions").observe(1.0)
    metrics.model.labels(Model().name).set(1)
    known = set(re.findall(r"^(sap2_\w+)", generate_latest(metrics.registry).decode(), re.MULTILINE))
    (group,) = YAML(typ="safe").load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]:
        used = set(re.findall(r"sap2_\w+", rule["expr"]))
        assert used and used <= known, f"{rule['alert']}: {used - known}"
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket")
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == [rule["alert"] for rule in group["rules"]]
