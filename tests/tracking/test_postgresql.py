"""The tracking store of compose.yaml and deploy/mlflow: MLflow's server on PostgreSQL and SeaweedFS, all real.

Where SeaweedFS is missing, the artifacts lie in a folder and what is about the store is skipped.
"""

import json
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import compose_services
import pytest

from sap2.params import EvaluationSection, GateSection, TrackingSection
from sap2.tracking import aliases as moving
from sap2.tracking import packaging
from sap2.tracking.packaging import PARTS, fetch_registered
from sap2.tracking.promotion import promote, rollback

GATE, EVALUATION = GateSection(first_max_wer=100, first_max_b_wer=100), EvaluationSection(bootstrap_samples=100)
REASON, STORE = compose_services.missing("postgresql"), compose_services.missing("seaweedfs")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


@pytest.fixture(scope="module")
def database():
    with compose_services.database() as database:
        yield database


@pytest.fixture(scope="module")
def objects():
    if STORE:
        yield None
        return
    with compose_services.objects() as objects:
        yield objects


@pytest.fixture(scope="module")
def port(database, objects):
    with compose_services.mlflow(database, objects) as port:
        yield port


@pytest.fixture
def section(port, request):
    return TrackingSection(uri=f"http://localhost:{port}", experiment=request.node.name, model_name=request.node.name)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package as its one file that loads a model: the others are a hundred requests more of the same kind."""
    package = tmp_path / "code" / packaging.PACKAGE.name
    (package / "tracking").mkdir(parents=True)
    shutil.copy2(packaging.PACKAGE / "tracking" / "pyfunc_model.py", package / "tracking")
    monkeypatch.setattr(packaging, "PACKAGE", package)
    return package


def run_at_once(commands) -> None:
    running = [subprocess.Popen([sys.executable, "-c", *map(str, command)]) for command in commands]
    assert [process.wait(300) for process in running] == [0, 0]


def test_register_promote_and_roll_back_on_postgresql(section, client, version, register_again, package, tmp_path):
    answer = register_again(section)
    again = register_again(section)
    assert answer["version"] == again["version"] == 1
    assert set(fetch_registered(section, answer["uri"], tmp_path)[0]) == set(PARTS)
    version(30), promote(section, GATE, EVALUATION, "2")
    version(5)
    assert promote(section, GATE, EVALUATION, "challenger").promoted
    assert moving.aliases(client, section.model_name) == {"champion": 3, "previous": 2}
    assert rollback(section, "misspells Meyer") == (3, 2)
    assert moving.aliases(client, section.model_name)["champion"] == 2
    assert client.get_registered_model(section.model_name).tags == {}


REGISTER = """
import json, sys
from pathlib import Path
from sap2.params import TrackingSection
from sap2.tracking import packaging, register
section, given, package = sys.argv[1:]
packaging.PACKAGE = Path(package)
given = {name: Path(path) for name, path in json.loads(given).items()}
number = given["output"].stem
section = TrackingSection.model_validate_json(section)
register(section, metrics={"none": {"wer": 9.5}}, params={"number": number}, **given)
"""


def test_two_registrations_at_once_are_two_whole_versions(section, client, models, package, tmp_path):
    parts = {name: str(models / name) for name in PARTS}
    outputs = [tmp_path / "1.json", tmp_path / "2.json"]
    run_at_once(
        [REGISTER, section.model_dump_json(), json.dumps(parts | {"output": str(output)}), package]
        for output in outputs
    )
    answers = [json.loads(output.read_text()) for output in outputs]
    made = client.search_model_versions(f"name = '{section.model_name}'")
    assert {int(item.version) for item in made} == {answer["version"] for answer in answers} == {1, 2}
    assert all(item.status == "READY" and item.tags["none/wer"] == "9.5" for item in made)


PROMOTE = """
import sys
from sap2.params import EvaluationSection, GateSection, TrackingSection
from sap2.tracking.promotion import promote
section = TrackingSection.model_validate_json(sys.argv[1])
promote(section, GateSection(), EvaluationSection(bootstrap_samples=100), sys.argv[2], force="a race")
"""


def test_concurrent_promotions_leave_a_single_champion(section, client, version):
    version(40), promote(section, GATE, EVALUATION, "1")
    version(20), version(20)
    run_at_once([PROMOTE, section.model_dump_json(), number] for number in ("2", "3"))
    held = moving.aliases(client, section.model_name)
    assert {held["champion"], held["previous"]} == {2, 3}
    replaced = {
        number: client.get_model_version(section.model_name, number).tags.get("sap2.replaced") for number in "23"
    }
    assert replaced == {str(held["champion"]): str(held["previous"]), str(held["previous"]): "1"}
    assert client.get_registered_model(section.model_name).tags == {}


@pytest.mark.skipif(STORE is not None, reason=str(STORE))
def test_clients_that_reach_mlflow_alone_fetch_a_version(
    section, objects, register_again, package, tmp_path, monkeypatch
):
    """MLflow's own default sends them to the store's address, which only its server may know."""
    from requests.adapters import HTTPAdapter

    send = HTTPAdapter.send

    def refuse_the_store(adapter, request, *more, **options):
        assert urlsplit(request.url).port != objects.port, f"asks the store itself: {request.url}"
        return send(adapter, request, *more, **options)

    monkeypatch.setattr(HTTPAdapter, "send", refuse_the_store)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # or a failure takes minutes
    answer = register_again(section)
    assert set(fetch_registered(section, answer["uri"], tmp_path)[0]) == set(PARTS)


@pytest.mark.parametrize(
    ("host", "code"), [("localhost", 200), ("127.0.0.1", 200), ("mlflow", 200), ("elsewhere.example", 403)]
)
def test_mlflow_answers_the_host_names_of_compose_alone(port, host, code):
    calls = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=0", headers={"Host": f"{host}:{port}"}
    )
    try:
        with urllib.request.urlopen(calls, timeout=30) as answer:
            assert answer.status == code
    except urllib.error.HTTPError as error:
        assert error.code == code


@pytest.mark.skipif(STORE is not None, reason=str(STORE))
def test_the_store_answers_nobody_without_its_keys(objects):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"http://127.0.0.1:{objects.port}/mlflow", timeout=30)


@pytest.mark.skipif(STORE is not None, reason=str(STORE))
def test_only_the_stores_gateway_listens_beyond_its_container(objects):
    """At another of this machine's addresses, for which a socket must listen on all."""
    socket.create_connection(("127.0.0.2", objects.port), timeout=10).close()
    for port in objects.inside:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=10)


def test_runs_are_rows_of_postgresql(database, section, version):
    version(1)
    query = "SELECT count(*) FROM registered_models WHERE name = '" + section.model_name + "'"
    done = subprocess.run(
        [database.binaries / "psql", "-U", "mlflow", "-d", "mlflow", "-Atc", query],
        env=database.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "1\n")
