"""Each request of a registration, a promotion and a rollback fails in turn, before or after a real server has acted.

The same command once more ends as if nothing had happened: one whole version, and the aliases moved once.
"""

import json
import random
import shutil

import pytest
from mlflow_server import AFTER, BEFORE, CLOSED, FaultyProxy, running

from sap2.errors import TrackingError
from sap2.params import EvaluationSection, GateSection, TrackingSection
from sap2.tracking import aliases as moving
from sap2.tracking import packaging
from sap2.tracking.packaging import PARTS, fetch_registered
from sap2.tracking.promotion import promote, rollback, versions
from sap2.tracking.runs import UNSENT
from sap2.tracking.store import new_client

GATE, EVALUATION = GateSection(first_max_wer=100, first_max_b_wer=100), EvaluationSection(bootstrap_samples=100)
QUICK = 2  # requests of each command, drawn, in every run of the tests; `long` takes each in turn
# Pairs of a request's fault and that of all later requests: the server stays unreachable, or MLflow's retry succeeds.
GONE = [(fault, CLOSED) for fault in (*BEFORE, *AFTER)]
ONCE = [(fault, None) for fault in AFTER]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The port of a server."""
    with running(tmp_path_factory.mktemp("mlflow")) as port:
        yield port


@pytest.fixture
def proxy(server, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setattr(moving, "LEASE", 1.0)  # of a lock whose owner could not release it
    monkeypatch.chdir(tmp_path)
    # A model's code is a hundred files, with the same request for each: one is enough.
    code = tmp_path / "code" / packaging.PACKAGE.name
    (code / "tracking").mkdir(parents=True)
    shutil.copy2(packaging.PACKAGE / "tracking" / "pyfunc_model.py", code / "tracking")
    monkeypatch.setattr(packaging, "PACKAGE", code)
    with FaultyProxy(server).started() as proxy:
        yield proxy


@pytest.fixture
def section(proxy):
    """Params for the server behind the proxy, with its own model."""
    return of(proxy, "first")


@pytest.fixture
def client(section):
    return new_client(section)


def of(proxy, model: str) -> TrackingSection:
    name = f"{model}-{proxy.server_port}"
    return TrackingSection(uri=f"http://127.0.0.1:{proxy.server_port}", experiment=name, model_name=name)


def faults(proxy, count: int, seed: int):
    """Yield number, fault and later fault of `count` requests drawn from those of the command; None = each in turn."""
    drawn = random.Random(seed)
    numbers = range(len(proxy.seen)) if count is None else sorted(drawn.sample(range(len(proxy.seen)), count))
    for number in numbers:
        for kinds in (GONE, ONCE) if count is None else (drawn.choice((GONE, ONCE)),):
            yield number, *drawn.choice(kinds)


def broken(proxy, command, number: int, fault: str, then: str | None):
    """Run a command whose request `number` fails; return what happened, and whether the command succeeded."""
    proxy.arm(fault, number, then)
    try:
        command()
        well = True
    except TrackingError:
        well = False
    met = proxy.seen[number] if number < len(proxy.seen) else "nothing"
    proxy.arm()
    story = f"request {number} ({met}): {fault}, then {then or 'answered'}; first {'well' if well else 'failed'}"
    return story, well


def nothing_left(client, name: str) -> None:
    """No journal and no lock."""
    assert client.get_registered_model(name).tags == {}
    assert [model.name for model in client.search_registered_models(f"name LIKE '{name}.%'")] == []


def check_registration(section, answer, story: str, folder, tmp_path) -> None:
    client, name = new_client(section), section.model_name
    [version] = client.search_model_versions(f"name = '{name}'")
    assert version.status == "READY" and int(version.version) == answer["version"], story
    assert version.tags["predicted/b_wer"] == "20.5" and version.tags["predicted/real_time_factor"] == "0.25", story
    assert moving.aliases(client, name) == {"challenger": answer["version"]}, story
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED" and run.info.run_id == answer["run"], story
    assert run.data.tags["sap2.model_version"] == f"{name}/{version.version}", story
    assert run.data.metrics["predicted/b_wer"] == 20.5 and run.data.params["model.window"] == "2", story
    assert json.loads((tmp_path / "registration.json").read_text()) == answer, story
    (folder / name).mkdir()
    assert set(fetch_registered(section, answer["uri"], folder / name)[0]) == set(PARTS), story
    assert not (tmp_path / f"{version.run_id}{UNSENT}").exists(), f"{story}: would say later that the run has failed"
    nothing_left(client, name)


def registrations(proxy, register_again, tmp_path, count: int | None, seed: int) -> int:
    section = of(proxy, "whole")
    proxy.arm()
    register_again(section)
    done = 0
    for number, fault, then in faults(proxy, count, seed):
        section = of(proxy, f"register-{number}-{'gone' if then else 'once'}")
        story, _ = broken(proxy, lambda section=section: register_again(section), number, fault, then)
        for listed in usable(section):
            assert listed["tags"]["predicted/b_wer"] == "20.5", story
        answer = register_again(section)
        check_registration(section, answer, story, tmp_path, tmp_path)
        done += 1
    return done


def usable(section):
    """What a user sees of the model right after the fault."""
    try:
        return [version for version in versions(section) if version["aliases"]]
    except TrackingError:  # there is no such model yet
        return []


def promotions(proxy, version, count: int | None, seed: int) -> int:
    """Version 2 becomes champion over 1."""
    section = of(proxy, "promote")
    version(30, section=section), given_promotion(section), version(5, section=section)
    proxy.arm()
    given_promotion(section)
    done = 0
    for number, fault, then in faults(proxy, count, seed):
        section = of(proxy, f"promote-{number}-{'gone' if then else 'once'}")
        version(30, section=section), given_promotion(section), version(5, section=section)
        story, well = broken(proxy, lambda section=section: given_promotion(section), number, fault, then)
        held = moving.aliases(new_client(section), section.model_name)
        assert held in ({"champion": 1, "challenger": 2}, {"champion": 2, "previous": 1}), story
        if not well:
            outcome = given_promotion(section)
            assert (outcome.promoted, outcome.champion, outcome.version, outcome.against) == (True, 2, 2, 1), story
        client = new_client(section)
        assert moving.aliases(client, section.model_name) == {"champion": 2, "previous": 1}, story
        champion = client.get_model_version(section.model_name, "2")
        assert champion.tags["sap2.replaced"] == "1", story
        assert champion.tags["sap2.promoted_why"] == "all 5 rules hold", story
        assert "## At the gate\npassed, compared with version 1" in champion.description, story
        assert client.list_artifacts(champion.run_id, "promotion"), story
        moved_once_more(section, version)
        nothing_left(client, section.model_name)
        done += 1
    return done


def rollbacks(proxy, version, count: int | None, seed: int) -> int:
    """From version 3 to 2, and not on to 1."""
    section = of(proxy, "back")
    three_champions(section, version)
    proxy.arm()
    rollback(section, "misspells Meyer")
    done = 0
    for number, fault, then in faults(proxy, count, seed):
        section = of(proxy, f"back-{number}-{'gone' if then else 'once'}")
        three_champions(section, version)
        story, well = broken(proxy, lambda section=section: rollback(section, "misspells Meyer"), number, fault, then)
        if not well:
            assert rollback(section, "misspells Meyer") == (3, 2), story
        client = new_client(section)
        assert moving.aliases(client, section.model_name) == {"champion": 2, "previous": 1}, story
        assert client.get_model_version(section.model_name, "3").tags["sap2.rolled_back_why"], story
        moved_once_more(section, version)
        nothing_left(client, section.model_name)
        done += 1
    return done


def given_promotion(section, version="challenger"):
    return promote(section, GATE, EVALUATION, version)


def three_champions(section, version) -> None:
    for wrong in (30, 15, 2):
        version(wrong, section=section), given_promotion(section)


def moved_once_more(section, version) -> None:
    """The next one to have the lock clears away what a lost answer has left, and what comes then stays."""
    with moving.locked(new_client(section), section.model_name):
        pass
    number = version(0, section=section)
    assert moving.aliases(new_client(section), section.model_name)["challenger"] == number


def test_a_failed_registration_is_completed_by_the_next(proxy, register_again, tmp_path):
    assert registrations(proxy, register_again, tmp_path, QUICK, seed=1) == QUICK


def test_a_failed_promotion_is_completed_by_the_next(proxy, version):
    assert promotions(proxy, version, QUICK, seed=2) == QUICK


def test_a_rollback_whose_requests_fail_goes_back_once(proxy, version):
    assert rollbacks(proxy, version, QUICK, seed=3) == QUICK


@pytest.mark.long  # a quarter of an hour and more
def test_each_request_of_a_registration_fails_in_turn(proxy, register_again, tmp_path):
    done = registrations(proxy, register_again, tmp_path, None, seed=4)
    print(f"\nregistration: {done} faults")
    assert done > 100


@pytest.mark.long
def test_each_request_of_a_promotion_fails_in_turn(proxy, version):
    done = promotions(proxy, version, None, seed=5)
    print(f"\npromotion: {done} faults")
    assert done > 30


@pytest.mark.long
def test_each_request_of_a_rollback_fails_in_turn(proxy, version):
    done = rollbacks(proxy, version, None, seed=6)
    print(f"\nrollback: {done} faults")
    assert done > 20
