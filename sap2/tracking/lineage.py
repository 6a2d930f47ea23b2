"""The pipeline's stages as child runs of its run, with inputs and outputs from dvc.lock, and the trainings' curves.

A training logs while it runs, and its run is identified by the adapter it produced. The other stages are logged from
dvc.lock: command, params and hashes of inputs and outputs. So the runs are complete even if DVC took a stage's outputs
from its cache and nothing ran.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sap2.errors import InputError
from sap2.tracking.provenance import adapter_digest
from sap2.tracking.runs import ADAPTER_TAG, log_params, run_tags
from sap2.tracking.values import flat_params, numbers, safe_key

__all__ = ["PARENT_TAG", "log_stages", "read_lock"]

PARENT_TAG = "mlflow.parentRunId"


def read_lock(lock: Path) -> dict[str, Any]:
    """Read dvc.lock by stage; empty if the stages did not run under DVC.

    Raises: InputError: it is not a lock file.
    """
    if not lock.is_file():
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        stages = (YAML(typ="safe", pure=True).load(lock.read_text(encoding="utf-8")) or {}).get("stages") or {}
        # The lock's entry for `register` is of the previous registration.
        return {name: entry for name, entry in stages.items() if name != "register"}
    except (YAMLError, AttributeError) as error:
        raise InputError(f"{lock}: not a lock file of DVC; run `dvc repro` again") from error


def log_stages(
    client,
    parent: str,
    stages: Mapping[str, Any],
    adapters: Mapping[str, Path],
    figures: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """Log a child run of `parent` for each stage; return the run that trained each adapter, as far as known.

    Args:
        stages: The result of `read_lock`.
        adapters: Folder by training: "pruner", "recogniser".
        figures: Counts and measurements by stage.
    """
    from mlflow.entities import Metric, RunTag

    experiment = client.get_run(parent).info.experiment_id
    trained_by = {stage: run for stage, folder in adapters.items() if (run := _training(client, stage, folder))}
    for stage, run in trained_by.items():
        client.set_tag(parent, f"sap2.trained_by/{stage}", run)
    now = int(time.time() * 1000)
    for name in dict.fromkeys((*stages, *figures, *(f"train-{stage}" for stage in trained_by))):
        stage = name.removeprefix("train-")
        training = trained_by.get(stage) if name.startswith("train-") else None
        if training and PARENT_TAG not in client.get_run(training).data.tags:
            client.set_tag(training, PARENT_TAG, parent)
            run = training
        else:
            tags = run_tags(name) | {PARENT_TAG: parent} | ({"sap2.same_as": training} if training else {})
            run = client.create_run(experiment, run_name=name, tags=tags).info.run_id
            log_params(client, run, _params(stages.get(name, {})))
        measured = [Metric(key, value, now, 0) for key, value in numbers(figures.get(name, {})).items()]
        client.log_batch(run, measured, tags=[RunTag(*tag) for tag in _hashes(stages.get(name, {})).items()])
        if run != training:
            client.set_terminated(run)
    return trained_by


def _training(client, stage: str, folder: Path) -> str | None:
    digest = adapter_digest(folder)
    if digest is None:
        return None
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.`{ADAPTER_TAG}` = '{digest}' and tags.`sap2.stage` = '{stage}'"
    runs = client.search_runs(experiments, wanted, order_by=["attributes.start_time DESC"], max_results=1)
    return runs[0].info.run_id if runs else None


def _params(entry: Mapping[str, Any]) -> dict[str, str]:
    params: dict[str, Any] = {}
    for values in (entry.get("params") or {}).values():
        params |= {key: value for key, value in values.items() if not key.startswith("profiles.")}
        for key, value in values.items():  # the profile's values win
            if key.startswith("profiles.") and isinstance(value, Mapping):
                section = key.rpartition(".")[2]
                params[section] = {**(params.get(section) or {}), **value}
    return flat_params(params)


def _hashes(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return tags `dvc.deps/PATH` and `dvc.outs/PATH` with DVC's hashes of a stage's inputs and outputs."""
    tags = {"sap2.command": str(entry["cmd"])} if entry else {}
    for kind in ("deps", "outs"):
        files: Iterable[Mapping[str, Any]] = entry.get(kind) or ()
        tags |= {safe_key(f"dvc.{kind}/{file['path']}"): str(file.get("md5", "")) for file in files}
    return tags
