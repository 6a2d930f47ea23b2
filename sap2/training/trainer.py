"""Training of a stage, in this process or in several through torchrun.

The adapter is written atomically to `output`. An unfinished training has checkpoints below `checkpoints`, and another
call with the same inputs and settings resumes from the last complete one.
"""

import sys
from pathlib import Path
from typing import Any, Protocol

from sap2.errors import InputError
from sap2.files import atomic_dir
from sap2.params import LoraSection, ModelSection, TrainSection
from sap2.training.job import Job
from sap2.training.launch import Report, launch, node_count
from sap2.training.lists import Stage


class Tracker(Protocol):
    """Recorder of curves: loss, learning rate, throughput, dev loss."""

    def log(self, metrics: dict[str, float], step: int) -> None: ...


def train(
    stage: Stage,
    base: Path | str,
    train: Path,
    dev: Path,
    output: Path,
    checkpoints: Path,
    section: TrainSection,
    model: ModelSection,
    lora: LoraSection,
    tracker: Tracker | None = None,
    resume: bool = True,
) -> dict[str, Any]:
    """Train one stage's adapter on a base.

    Args:
        stage: `pruner` (learns which listed keywords are spoken) or `recogniser` (learns to transcribe).
        base: Folder in Hugging Face format, or a hub id.
        train, dev: Manifests; the dev loss is computed on dev.
        output: Adapter folder: weights, adapter_config.json, sap_config.json, the processor, training.json.
        checkpoints: Folder for checkpoints of an interrupted run; the encoder cache beside it is shared by both stages.
        tracker: Gets `loss`, `learning_rate`, `grad_norm`, `samples_per_second`, `epoch` and `dev_loss` by step.
        resume: Whether to resume from the last complete checkpoint of the same training; False deletes its checkpoints.
    Returns: The summary; training.json has the part that every run with these inputs and settings has in common.
    Raises: InputError: a manifest or recording cannot be used. ModelError: base, adapter or checkpoint do not fit, the
        loss is not finite, or a process ended early.
    """
    for name, path in (("train", train), ("dev", dev)):
        if not Path(path).is_file():
            raise InputError(f'{path}: no such {name} manifest; run "sap2 prepare" or correct the path')
    job = Job(stage, str(base), Path(train), Path(dev), Path(output), Path(checkpoints), section, model, lora, resume)
    job.log.unlink(missing_ok=True)  # of an earlier training
    report: Report = tracker.log if tracker is not None else lambda metrics, step: None
    try:
        if section.nproc > 1 or node_count() > 1:
            return launch(job, report)
        from sap2.training.worker import run

        return run(job, report)
    finally:
        if job.log.is_file() and not job.log.stat().st_size:
            job.log.unlink()
        elif job.log.is_file():
            print(f"{stage}: libraries' messages are in {job.log}", file=sys.stderr)


def leave_out(output: Path, model: ModelSection) -> dict[str, Any]:
    """Write a folder in place of the pruner, which PC and JPI do not have: `sap_config.json` with the method.

    Returns: A summary that states it.
    """
    from sap2.model import save_sap_settings

    with atomic_dir(output) as partial:
        save_sap_settings(model.sap_fields(), partial)
    return {"method": model.method, "trained": f"nothing, {model.method} is one model: the recogniser"}
