"""Running a training of the base step by step: schedule, log, checkpoints that a later run resumes from."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sap2.files import atomic_file

__all__ = ["Training", "rate", "run", "update"]

LAST_RATE = 0.01  # share of the peak at which the cosine schedule ends
LOG_STEPS = 100
SMOOTHING = 0.02  # weight of a step in the logged averages


@dataclass
class Training:
    """What a checkpoint holds: modules and an optimizer by name, and how far they are.

    Each parameter group of the optimizer has its peak learning rate as `peak`.
    """

    parts: dict[str, Any]
    checkpoint: Path
    step: int = 0
    seconds: float = 0.0  # of computing so far

    @classmethod
    def started(cls, parts: dict[str, Any], checkpoint: Path, device: str) -> "Training":
        """A training at the state of its checkpoint, or at step 0 without one."""
        training = cls(parts, checkpoint)
        if checkpoint.is_file():
            saved = torch.load(checkpoint, weights_only=True, map_location=device)
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            training.step, training.seconds = saved["step"], saved["seconds"]
        return training

    def save(self) -> None:
        """Write the checkpoint."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        with atomic_file(self.checkpoint) as partial:
            torch.save({**state, "step": self.step, "seconds": self.seconds}, partial)


def rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate of a step as a share of the peak: linear warm-up, then a cosine."""
    return min(1.0, (step + 1) / warmup) * max(LAST_RATE, 0.5 * (1 + math.cos(math.pi * step / steps)))


def update(training: Training, loss: Tensor, share: float) -> None:
    """Update the weights by a loss at a share of their peak learning rates, unless its gradient is not finite."""
    optimizer = training.parts["optimizer"]
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if torch.isfinite(nn.utils.clip_grad_norm_(weights, 1.0)):
        optimizer.step()
    training.step += 1


def run(
    training: Training,
    batches: Dataset,
    take_step: Callable[[dict], dict[str, Tensor]],
    log: Path,
    *,
    workers: int,
    save_minutes: float,
    device: str,
    probe: Callable[[], dict[str, float]],
    probes: Sequence[float] = (),
    on_log: Callable[[nn.Module], None] | None = None,
) -> None:
    """Take the steps that are left, one per batch; a batch depends on its step's number alone.

    Args:
        take_step: Trains on a batch and returns its losses by name.
        log: JSON lines of averages, every 100 steps and after the last.
        workers: Processes that prepare batches; 0 = this process.
        save_minutes: Time between two checkpoints.
        probe: Figures of held-out recordings, computed at the shares `probes` of the run and at its end.
        on_log: Called with the model after each line of the log.
    """
    steps = len(batches)  # type: ignore[arg-type]
    loader = DataLoader(
        batches, batch_size=None, sampler=range(training.step, steps), num_workers=workers,
        prefetch_factor=8 if workers else None, worker_init_fn=lambda _: torch.set_num_threads(1),
    )  # fmt: skip
    averages: dict[str, Tensor] = {}
    earlier, began = training.seconds, time.monotonic()
    saved_at = began
    for batch in loader:
        for name, value in take_step(batch).items():
            averages[name] = torch.lerp(averages.get(name, value), value, SMOOTHING)
        training.seconds = earlier + time.monotonic() - began
        last = training.step == steps
        if last or time.monotonic() - saved_at > save_minutes * 60:
            training.save()
            saved_at = time.monotonic()
        if not last and training.step % LOG_STEPS:
            continue
        row: dict[str, Any] = {"step": training.step, "seconds": round(training.seconds), "device": _name(device)}
        row |= {name: round(value.item(), 4) for name, value in averages.items()}
        if last or any(0 <= training.step - share * steps < LOG_STEPS for share in probes):
            row |= probe()
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        if on_log:
            on_log(training.parts["model"])


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "a CPU"
