"""A pipeline's stages as runs below its own: what each was given and made, by DVC's lock, and the trainings' curves.

A training logs while it runs, and is found by the adapter it made. The other stages leave their lines in dvc.lock:
their command, params and the hashes of what went in and came out. So the runs are whole, too, when DVC took a stage's
output from its cache and nothing ran at all.
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
    """DVC's lock, by stage; empty where the stages did not run under DVC.

    Raises: InputError: it is no lock file.
    """
    if not lock.is_file():
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        stages = (YAML(typ="safe", pure=True).load(lock.read_text(encoding="utf-8")) or {}).get("stages") or {}
        # What the lock says of the registration is the one before.
        return {name: entry for name, entry in stages.items() if name != "register"}
    except (YAMLError, AttributeError) as error:
        raise InputError(f"{lock}: not a lock file of DVC; run `dvc repro` again") from error


def log_stages(
    asking,
    parent: str,
    stages: Mapping[str, Any],
    adapters: Mapping[str, Path],
    figures: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """A run below `parent` for every stage; return which run trained which adapter, as far as found.

    Args:
        stages: `read_lock`'s.
        adapters: Folder by training: "pruner", "recogniser".
        figures: By stage, what it counted and measured.
    """
    from mlflow.entities import Metric, RunTag

    experiment = asking.get_run(parent).info.experiment_id
    trained_by = {stage: run for stage, folder in adapters.items() if (run := _training(asking, stage, folder))}
    for stage, run in trained_by.items():
        asking.set_tag(parent, f"sap2.trained_by/{stage}", run)
    now = int(time.time() * 1000)
    for name in dict.fromkeys((*stages, *figures, *(f"train-{stage}" for stage in trained_by))):
        stage = name.removeprefix("train-")
        training = trained_by.get(stage) if name.startswith("train-") else None
        if training and PARENT_TAG not in asking.get_run(training).data.tags:
            asking.set_tag(training, PARENT_TAG, parent)
            run = training
        else:
            tags = run_tags(name) | {PARENT_TAG: parent} | ({"sap2.same_as": training} if training else {})
            run = asking.create_run(experiment, run_name=name, tags=tags).info.run_id
            log_params(asking, run, _params(stages.get(name, {})))
        measured = [Metric(key, value, now, 0) for key, value in numbers(figures.get(name, {})).items()]
        asking.log_batch(run, measured, tags=[RunTag(*tag) for tag in _hashes(stages.get(name, {})).items()])
        if run != training:
            asking.set_terminated(run)
    return trained_by


def _training(asking, stage: str, folder: Path) -> str | None:
    digest = adapter_digest(folder)
    if digest is None:
        return None
    experiments = [experiment.experiment_id for experiment in asking.search_experiments()]
    wanted = f"tags.`{ADAPTER_TAG}` = '{digest}' and tags.`sap2.stage` = '{stage}'"
    found = asking.search_runs(experiments, wanted, order_by=["attributes.start_time DESC"], max_results=1)
    return found[0].info.run_id if found else None


def _params(entry: Mapping[str, Any]) -> dict[str, str]:
    given: dict[str, Any] = {}
    for values in (entry.get("params") or {}).values():
        given |= {key: value for key, value in values.items() if not key.startswith("profiles.")}
        for key, value in values.items():  # what the profile changes wins
            if key.startswith("profiles.") and isinstance(value, Mapping):
                section = key.rpartition(".")[2]
                given[section] = {**(given.get(section) or {}), **value}
    return flat_params(given)


def _hashes(entry: Mapping[str, Any]) -> dict[str, str]:
    """`dvc.deps/PATH` and `dvc.outs/PATH`: how to find in DVC's cache what went in and came out."""
    tags = {"sap2.command": str(entry["cmd"])} if entry else {}
    for kind in ("deps", "outs"):
        files: Iterable[Mapping[str, Any]] = entry.get(kind) or ()
        tags |= {safe_key(f"dvc.{kind}/{one['path']}"): str(one.get("md5", "")) for one in files}
    return tags
