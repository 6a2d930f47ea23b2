"""A pipeline's run has a child run for each stage, with its inputs and outputs."""

import pytest

from sap2.errors import InputError
from sap2.tracking.lineage import log_stages, read_lock
from sap2.tracking.runs import start_run
from sap2.tracking.store import new_client

LOCK = """
schema: '2.0'
stages:
  prepare:
    cmd: sap2 prepare --profile test
    deps:
    - {path: sap2/data, hash: md5, md5: 0a.dir}
    params:
      params.yaml:
        profile: test
        prepare: {list_size: 20, seed: 1}
        profiles.test.prepare: {list_size: 10}
    outs:
    - {path: data/prepared, hash: md5, md5: 1b.dir, size: 5}
  train-pruner:
    cmd: sap2 train-pruner --profile test
    outs:
    - {path: models/pruner, hash: md5, md5: 2c.dir}
  register:
    cmd: sap2 register --profile test
"""


@pytest.fixture
def stages(tmp_path):
    (tmp_path / "dvc.lock").write_text(LOCK)
    return read_lock(tmp_path / "dvc.lock")


def below(client, section, parent):
    experiment = client.get_experiment_by_name(section.experiment).experiment_id
    result = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    return {run.data.tags["sap2.stage"]: run for run in result}


def test_each_stage_has_a_run_with_params_hashes_and_figures(section, stages, models):
    client = new_client(section)
    with start_run(section, "pruner") as training:
        training.log({"loss": 2.0}, 1)
        training.made(models / "pruner")
    with start_run(section, "register") as parent:
        figures = {"prepare": {"splits": {"test": {"utterances": 8}}, "source": "lectures"}}
        trained_by = log_stages(client, parent.run_id, stages, {"pruner": models / "pruner"}, figures)
    assert trained_by == {"pruner": training.run_id}
    runs = below(client, section, parent.run_id)
    assert set(runs) == {"prepare", "pruner"} and runs["pruner"].info.run_id == training.run_id
    prepare = runs["prepare"]
    assert prepare.info.status == "FINISHED"
    assert prepare.data.params == {"profile": "test", "prepare.list_size": "10", "prepare.seed": "1"}
    assert prepare.data.metrics == {"splits/test/utterances": 8.0}
    assert prepare.data.tags["sap2.command"] == "sap2 prepare --profile test"
    assert (
        prepare.data.tags["dvc.deps/sap2/data"] == "0a.dir" and prepare.data.tags["dvc.outs/data/prepared"] == "1b.dir"
    )
    assert runs["pruner"].data.tags["dvc.outs/models/pruner"] == "2c.dir"
    assert runs["pruner"].data.metrics["loss"] == 2.0

    with start_run(section, "register") as second:
        log_stages(client, second.run_id, stages, {"pruner": models / "pruner"}, {})
    again = below(client, section, second.run_id)
    assert set(again) == {"prepare", "train-pruner"}, "the training has a parent; a run that names it stands in"
    assert again["train-pruner"].data.tags["sap2.same_as"] == training.run_id
    assert client.get_run(second.run_id).data.tags["sap2.trained_by/pruner"] == training.run_id


def test_without_a_lock_the_stages_that_noted_something_are_runs(section, tmp_path):
    client = new_client(section)
    assert read_lock(tmp_path / "dvc.lock") == {}
    with start_run(section, "register") as parent:
        log_stages(client, parent.run_id, {}, {}, {"evaluate": {"predicted": {"wer": 5.0}}})
    assert below(client, section, parent.run_id)["evaluate"].data.metrics == {"predicted/wer": 5.0}


@pytest.mark.parametrize("text", ["stages: [", "- a list"])
def test_a_broken_lock_is_named(tmp_path, text):
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(InputError, match="dvc.lock: not a lock file of DVC"):
        read_lock(tmp_path / "dvc.lock")
