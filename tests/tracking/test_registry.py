"""Registration is atomic: a complete run and a version with its scores, or no version."""

import hashlib
import json

import pytest

from sap2.errors import InputError, ModelError, TrackingError
from sap2.params import EvaluationSection, GateSection
from sap2.tracking import aliases as moving
from sap2.tracking import register, registry
from sap2.tracking.aliases import aliases
from sap2.tracking.promotion import promote, versions
from sap2.tracking.runs import start_run
from sap2.tracking.store import new_client


def test_registration_returns_and_writes_run_and_version(registered, shared_section):
    answer, output, trained = registered
    assert json.loads(output.read_text()) == answer
    assert (answer["model"], answer["version"], answer["uri"]) == ("whole", 1, "models:/whole/1")
    assert answer["tracking_uri"] == shared_section.uri
    assert answer["scores"] == {
        "none/wer": 9.5, "none/u_wer": 2.0, "none/b_wer": 80.25,
        "predicted/wer": 4.0, "predicted/u_wer": 2.25, "predicted/b_wer": 20.5,
        "pruning/recall": 0.91, "pruning/precision": 0.75, "pruning/f1": 0.8222,
    }  # fmt: skip


def test_run_holds_params_metrics_reports_and_data(registered, shared_section, reports):
    answer, _, _ = registered
    client = new_client(shared_section)
    run = client.get_run(answer["run"])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.window"] == "2" and run.data.params["pruner.list_sizes"] == "[5, 10]"
    assert run.data.metrics["predicted/b_wer"] == 20.5 and run.data.metrics["none/b_wer_low"] == 70.0
    assert "predicted/b_wer_vs_none" not in run.data.metrics
    assert {file.path for file in client.list_artifacts(answer["run"], "reports")} == {
        "reports/report.html",
        "reports/plots",
    }
    assert [file.path for file in client.list_artifacts(answer["run"], "reports/plots")] == ["reports/plots/counts.csv"]
    assert [file.path for file in client.list_artifacts(answer["run"], "results")] == ["results/predicted.jsonl"]
    assert run.data.metrics["predicted/real_time_factor"] == 0.25
    digest = hashlib.sha256((reports / "test.jsonl").read_bytes()).hexdigest()
    assert run.data.tags[f"data.sha256/{reports.name}/test.jsonl"] == digest
    [given] = run.inputs.dataset_inputs
    assert given.dataset.digest == digest[:36]
    assert json.loads(given.dataset.profile) == {
        "title": "Talks", "licence": "CC0", "utterances": 1, "hours": 0.5, "manifests_sha256": "f00",
    }  # fmt: skip


def test_run_keeps_what_it_takes_to_make_it_again_and_to_read_it(registered, shared_section):
    answer, _, _ = registered
    client = new_client(shared_section)
    kept = {file.path for folder in (None, "reproduce") for file in client.list_artifacts(answer["run"], folder)}
    assert {"results_table.json", "results", "reports"} <= kept
    assert {f"reproduce/{name}" for name in ("params.yaml", "environment.txt", "dvc.lock")} <= kept
    run = client.get_run(answer["run"])
    assert run.data.tags["sap2.model_version"] == "whole/1"
    note = run.data.tags["mlflow.note.content"]
    assert "| stage 1's answer | 4.00 | 2.25 | 20.50 | – | – |" in note and "Definition deep-bias" in note
    assert note.splitlines()[0] == "WER 4.00 %, B-WER 20.50 % with both stages"
    assert client.get_model_version("whole", "1").description == note
    assert "`champion` is in production" in client.get_registered_model("whole").description


def test_the_params_that_are_kept_are_a_params_file(registered, shared_section, tmp_path, monkeypatch):
    from sap2.params import load_params
    from sap2.tracking.registry import _log_state

    monkeypatch.delenv("SAP2_PROFILE", raising=False)
    client = new_client(shared_section)
    params = load_params("params.yaml", "test")
    with start_run(shared_section, "register") as tracker:
        _log_state(client, tracker.run_id, params.model_dump(), dirty=False)
    path = client.download_artifacts(tracker.run_id, "reproduce/params.yaml", str(tmp_path))
    assert load_params(path) == params


def test_no_password_leaves_with_the_uncommitted_changes(shared_section, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "code_changes", lambda: "+ uri: https://ana:geheim@store/x\n")
    with start_run(shared_section, "register") as tracker:
        registry._log_state(new_client(shared_section), tracker.run_id, {}, dirty=True)
    kept = new_client(shared_section).download_artifacts(tracker.run_id, "reproduce/changes.patch", str(tmp_path))
    assert open(kept).read() == "+ uri: https://***@store/x\n"


def test_version_is_tagged_with_scores_and_origin(registered, shared_section, reports):
    answer, _, _ = registered
    version = new_client(shared_section).get_model_version("whole", "1")
    assert version.status == "READY" and version.run_id == answer["run"]
    assert {name: float(version.tags[name]) for name in answer["scores"]} == answer["scores"]
    assert version.tags["predicted/real_time_factor"] == "0.25"
    assert version.tags["definition"] == "deep-bias" and version.tags["normaliser"] == "none"
    assert version.tags["dvc.lock_sha256"] == hashlib.sha256((reports / "dvc.lock").read_bytes()).hexdigest()
    assert {"git.commit", "git.dirty", "sap2.version"} <= set(version.tags)
    assert version.tags["sap2.settings"].startswith(
        "pruning: max_new_tokens 8, num_beams 2, ctc_weight 0.3, speech_only True, max_list 3"
    )


def test_the_training_run_is_linked_by_its_adapter(registered, shared_section):
    answer, _, trained = registered
    assert answer["trained_by"] == {"pruner": trained}  # the recogniser's adapter was trained without tracking
    client = new_client(shared_section)
    assert client.get_run(trained).data.tags["mlflow.parentRunId"] == answer["run"]
    assert client.get_run(answer["run"]).data.tags["sap2.trained_by/pruner"] == trained


@pytest.mark.parametrize("broken", ["pruner", "files"])
def test_missing_part_leaves_no_version(section, client, register_again, tmp_path, broken):
    missing = tmp_path / "nowhere"
    expected = ModelError if broken == "pruner" else InputError
    with pytest.raises(expected, match="nowhere: no"):
        register_again(section, **{broken: missing if broken == "pruner" else [missing]})
    assert client.search_registered_models(f"name = '{section.model_name}'") == []
    assert not (tmp_path / "registration.json").exists()
    experiment = client.get_experiment_by_name(section.experiment)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    assert all(run.info.status == "FAILED" for run in runs)


def test_an_early_failure_leaves_a_failed_run_and_no_version(section, client, register_again, monkeypatch, tmp_path):
    def failing(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(registry, "_log_metrics", failing)
    monkeypatch.setattr(registry, "log_model", lambda *_: type("Info", (), {"model_id": None, "model_uri": ""}))
    with pytest.raises(TrackingError, match="did not accept the model: No space left on device"):
        register_again(section)
    (run,) = client.search_runs([client.get_experiment_by_name(section.experiment).experiment_id])
    assert run.info.status == "FAILED"
    assert client.search_registered_models(f"name = '{section.model_name}'") == []
    assert not (tmp_path / "registration.json").exists()


@pytest.fixture
def no_repository(monkeypatch, tmp_path):
    """Whoever edits the code meanwhile makes the same registration another one."""
    monkeypatch.chdir(tmp_path)


class Broken:
    """A client whose `method` fails: before the store did it, after it (the answer is lost), or did it twice."""

    def __init__(self, client, method: str, how: str):
        self._client, self._method, self._how = client, method, how

    def __getattr__(self, name):
        method = getattr(self._client, name)
        if name != self._method:
            return method

        def failing(*arguments, **options):
            if self._how != "before":
                method(*arguments, **options)
            if self._how == "twice":
                return method(*arguments, **options)
            raise ConnectionError("connection reset")

        return failing


@pytest.mark.parametrize(
    "method, how, versions",
    [
        ("create_model_version", "before", []),
        ("create_model_version", "after", [1]),
        ("create_model_version", "twice", [1]),
        ("set_registered_model_tag", "before", []),
        ("set_registered_model_tag", "after", None),
        ("set_registered_model_alias", "before", None),
        ("set_registered_model_alias", "after", None),
        ("delete_registered_model_tag", "before", [1]),
        ("delete_registered_model", "before", [1]),
        ("log_batch", "after", []),
    ],
)
@pytest.mark.usefixtures("no_repository")
def test_a_version_is_registered_whole_and_once_or_not_at_all(
    section, client, register_again, monkeypatch, tmp_path, method, how, versions
):
    """None: what is left counts as soon as the next command looks, and the same one again returns it."""
    monkeypatch.setattr(moving, "LEASE", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "new_client", lambda section: Broken(new_client(section), method, how))
        if versions:
            assert register_again(section)["version"] == 1
        else:
            with pytest.raises(TrackingError, match="connection reset"):
                register_again(section)
            assert not (tmp_path / "registration.json").exists()
    result = client.search_model_versions(f"name = '{section.model_name}'")
    assert [int(item.version) for item in result] == ([1] if versions is None else versions)
    assert all(item.status == "READY" and item.tags["predicted/b_wer"] == "20.5" for item in result)
    if result:
        assert aliases(client, section.model_name) == {"challenger": 1}
    number = register_again(section)["version"]
    [item] = client.search_model_versions(f"name = '{section.model_name}'")
    assert item.tags["sap2.unfinished"] == "false" and client.get_run(item.run_id).info.status == "FINISHED"
    assert int(item.version) == number and (number == 1 or not result)
    assert client.get_registered_model(section.model_name).aliases == {"challenger": number}


def cut_short(section, register_again, monkeypatch):
    """A registration whose server goes away between the version and all that comes after it."""

    class Gone:
        def __init__(self, client):
            self._client, self._gone = client, False

        def __getattr__(self, name):
            self._gone = self._gone or name == "set_registered_model_tag"
            return Broken(self._client, name, "before").__getattr__(name) if self._gone else getattr(self._client, name)

    monkeypatch.setattr(moving, "LEASE", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(registry, "new_client", lambda section: Gone(new_client(section)))
        with pytest.raises(TrackingError, match="connection reset"):
            register_again(section)


@pytest.mark.usefixtures("no_repository")
def test_repeating_a_registration_completes_its_version(section, client, register_again, monkeypatch, capsys):
    cut_short(section, register_again, monkeypatch)
    assert "a version of model" in capsys.readouterr().err
    [left] = client.search_model_versions(f"name = '{section.model_name}'")
    assert left.tags["sap2.unfinished"] == "true" and aliases(client, section.model_name) == {}
    assert [version["aliases"] for version in versions(section)] == [["unfinished"]]
    with pytest.raises(TrackingError, match="registration of version 1 was interrupted; run it again"):
        promote(section, GateSection(), EvaluationSection(), "1", force="now")
    answer = register_again(section)
    assert (answer["version"], answer["run"]) == (1, left.run_id)
    assert client.get_model_version(section.model_name, "1").tags["sap2.unfinished"] == "false"
    assert client.get_run(left.run_id).info.status == "FINISHED"


@pytest.mark.usefixtures("no_repository")
def test_another_registration_removes_an_unfinished_version(section, client, register_again, monkeypatch):
    cut_short(section, register_again, monkeypatch)
    [left] = client.search_model_versions(f"name = '{section.model_name}'")
    answer = register_again(section, metrics={"predicted": {"b_wer": 19.0}})
    [result] = client.search_model_versions(f"name = '{section.model_name}'")
    assert int(result.version) == answer["version"] and result.run_id != left.run_id
    assert result.tags["predicted/b_wer"] == "19"


@pytest.mark.usefixtures("no_repository")
def test_registration_is_idempotent(section, client, register_again):
    first = register_again(section)
    register_again(section, metrics={"predicted": {"b_wer": 19.0}})
    assert register_again(section) == first
    assert aliases(client, section.model_name) == {"challenger": 2}
    (run, *_) = client.search_runs([client.get_run(first["run"]).info.experiment_id], "tags.`sap2.stage` = 'register'")
    assert run.info.run_id != first["run"], "no run of its own"


def test_unreachable_server_is_a_tracking_error(section, register_again, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="http://127.0.0.1:9 cannot open a run"):
        register_again(section)


def test_second_registration_is_the_next_version(registered, shared_section, register_again):
    again = register_again(shared_section, metrics={"predicted": {"b_wer": 19.0}})
    assert again["version"] == 2
    client = new_client(shared_section)
    assert aliases(client, "whole") == {"challenger": 2}
    assert client.get_model_version("whole", "1").tags["predicted/b_wer"] == "20.5"
    assert client.get_model_version("whole", "2").tags["predicted/b_wer"] == "19"
    first, _, trained = registered
    # The newest of the runs that made this adapter, of which other tests may have made more.
    same = (client.get_run(run).data.tags["sap2.adapter_sha256"] for run in (trained, again["trained_by"]["pruner"]))
    assert len(set(same)) == 1
    assert client.get_run(trained).data.tags["mlflow.parentRunId"] == first["run"]


def test_register_takes_everything_by_name():
    with pytest.raises(TypeError):
        register(None, {}, {})
