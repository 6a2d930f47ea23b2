"""Reports of a running training: curves to the tracker and lines to stderr; it seals the checkpoints too."""

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed
from transformers import TrainerCallback, TrainerState

from sap2.errors import ModelError
from sap2.files import alive
from sap2.training import checkpoints
from sap2.training.dev_score import METRICS
from sap2.training.launch import Report
from sap2.training.lists import Stage


class Progress(TrainerCallback):
    """Callback that reports a training and seals its checkpoints.

    Args:
        report: Called as `report(metrics, step)` on the first process.
        folder: Folder of the checkpoints.
        seen: Utterances trained by the end of each optimizer step, on all processes; 0 before the first.
        utterances: Utterances per epoch.
        before: Seconds trained before the resumed checkpoint.
        keep: Number of checkpoints to keep.
        launcher: Process id of the launching process; training ends if that process has ended.
    """

    def __init__(
        self,
        stage: Stage,
        report: Report,
        folder: Path,
        seen: Sequence[int],
        utterances: int,
        before: float,
        keep: int,
        launcher: int | None = None,
    ):
        self.stage, self.report, self.folder, self.keep, self.launcher = stage, report, folder, keep, launcher
        self.seen, self.utterances, self.before = seen, utterances, before
        self.loss: float | None = None
        self.dev_loss: float | None = None
        self.dev_step = -1
        self._busy, self._from = 0.0, 0  # since the last line: seconds without evaluation and saving; first step

    def on_train_begin(self, args, state, control, **kwargs):
        self._started = self._mark = time.monotonic()
        self._first_step = self._from = state.global_step
        for row in state.log_history:
            self._update(row)

    def on_step_end(self, args, state, control, **kwargs):
        now = time.monotonic()
        self._busy, self._mark = self._busy + now - self._mark, now
        if self.launcher is not None and not alive(self.launcher):
            raise ModelError(
                f"{self.stage}: launching process {self.launcher} has ended; stopped at {state.global_step}"
            )

    def on_evaluate(self, args, state, control, **kwargs):
        self._mark = time.monotonic()

    def on_log(self, args, state, control, logs: dict[str, float] | None = None, **kwargs):
        logs = logs or {}
        self._update({**logs, "step": state.global_step})
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise ModelError(
                    f"{self.stage}: the loss is {logs['loss']} at step {state.global_step}, expected a finite number; "
                    "lower learning_rate or turn bf16 off"
                )
            metrics: dict[str, float] = {
                name: float(logs[name]) for name in ("loss", "learning_rate", "grad_norm") if name in logs
            }
            seen = self.seen[state.global_step]
            metrics["samples_per_second"] = (seen - self.seen[self._from]) / max(self._busy, 1e-9)
            metrics["epoch"] = seen / self.utterances
            self._busy, self._from = 0.0, state.global_step
            self._print(state, metrics)
        elif "eval_loss" in logs:
            names = ("loss", *(name for name, _ in METRICS.values()))
            self._print(state, {f"dev_{name}": float(logs[f"eval_{name}"]) for name in names if f"eval_{name}" in logs})

    def on_save(self, args, state, control, **kwargs):
        """Seal the checkpoint after all processes have written their files, then delete older checkpoints."""
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            torch.distributed.barrier()
        if state.is_world_process_zero:
            checkpoints.seal(self.folder / f"checkpoint-{state.global_step}", self.seconds())
            checkpoints.prune(self.folder, self.keep, state.best_global_step)
        self._mark = time.monotonic()

    def on_train_end(self, args, state, control, **kwargs):
        if state.best_global_step and state.is_world_process_zero:
            name = METRICS[self.stage][0]
            print(
                f"{self.stage}: ended at step {state.global_step}/{state.max_steps}; dev_{name} was best at step "
                f"{state.best_global_step}, {state.best_metric:.4g}, whose adapter is the result",
                file=sys.stderr,
            )

    def seconds(self) -> float:
        """Return the seconds trained, with those before an interruption."""
        return self.before + time.monotonic() - self._started

    def summary(self, state: TrainerState) -> dict[str, Any]:
        """Return the figures of a finished training."""
        seconds, seen = self.seconds(), self.seen[state.global_step]
        best: dict[str, Any] = {}
        if step := state.best_global_step:  # early stopping's result is that step's adapter
            loss = next(row["eval_loss"] for row in state.log_history if row["step"] == step and "eval_loss" in row)
            best = {"best_step": step, "best_score": state.best_metric, "dev_loss": loss}
        return {
            "steps": state.global_step,
            "epochs": round(seen / self.utterances, 3),
            "seconds": round(seconds, 1),
            "samples_per_second": round(seen / max(seconds, 1e-9), 2),
            "final_loss": self.loss,
            "dev_loss": self.dev_loss,
            **best,
            "resumed_from_step": self._first_step or None,
        }

    def _update(self, row: dict[str, float]) -> None:
        if "loss" in row:
            self.loss = row["loss"]
        elif "eval_loss" in row:
            self.dev_loss, self.dev_step = row["eval_loss"], int(row["step"])

    def _print(self, state: TrainerState, metrics: dict[str, float]) -> None:
        if not state.is_world_process_zero:
            return
        self.report(metrics, state.global_step)
        figures = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        print(f"{self.stage}: step {state.global_step}/{state.max_steps}  {figures}", file=sys.stderr, flush=True)
