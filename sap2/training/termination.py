"""A training that must end early, or save early: at the end of a step, in all processes at the same one.

SIGTERM is how Kubernetes ends a pod. A lost heartbeat means that the pipeline's step, which waits for this training on
several nodes, is gone. Time saves a checkpoint: a pod may be gone without any notice.
"""

import os
import signal
import sys
import threading
import time

import torch
from torch import distributed
from transformers import TrainerCallback

from sap2.errors import Abandoned, Stopped
from sap2.heartbeat import Heartbeat, watched
from sap2.training.signals import on_sigterm

GOES_ON, ABANDONED, STOPPED = 0, 1, 2  # the greatest of all processes counts


class Termination(TrainerCallback):
    """Ends a training that is told to stop or left alone, and saves every `save_minutes`.

    Between the steps' begin and end a checkpoint is written first; before and after there is nothing to write, what
    is needed to go on lies on disk.
    """

    def __init__(self, stage: str, save_minutes: float | None = None):
        self.stage, self._end, self._stepping = stage, GOES_ON, False
        self._save_seconds = None if save_minutes is None else 60 * save_minutes
        self._saved = time.monotonic()
        self._heartbeat: Heartbeat | None = watched()
        self._watch: threading.Event | None = None
        if self._heartbeat is not None:
            self._watch = self._heartbeat.watch(self._alone)

    def heard(self):
        """Context in which SIGTERM is heeded."""
        return on_sigterm(self._hear)

    def check(self, where: str) -> None:
        """Raise Stopped if the training was told to stop, Abandoned if nobody waits for it any more."""
        if self._end == STOPPED:
            raise Stopped(
                f"{self.stage}: stopped {where}, as SIGTERM asked; run the stage again: it goes on from there"
            )
        if self._end == ABANDONED:
            raise Abandoned(
                f"{self.stage}: ended {where}: no sign of life from the pipeline's step "
                f"for {self._heartbeat.limit:g} s in {self._heartbeat.file}; the pipeline submitted again goes on from "
                "there"
            )

    def close(self) -> None:
        """End the watch over the heartbeat."""
        if self._watch is not None:
            self._watch.set()

    def on_train_begin(self, args, state, control, **kwargs):
        self._stepping, self._saved = True, time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        due = self._save_seconds is not None and time.monotonic() - self._saved > self._save_seconds
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            told = torch.tensor([self._end, int(due)], device=args.device)
            distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
            self._end, due = told[0].item(), bool(told[1])
        if self._end != GOES_ON:
            control.should_save = control.should_training_stop = True
        elif due:
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        self._saved = time.monotonic()

    def on_train_end(self, args, state, control, **kwargs):
        self._stepping = False

    def _hear(self) -> None:
        self._end = self._end or STOPPED
        if not self._stepping:
            self.check("before its first or after its last step")

    def _alone(self) -> None:
        """The heartbeat is lost: what a step does not notice, a signal ends."""
        self._end = max(self._end, ABANDONED)
        print(f"{self.stage}: no sign of life from the pipeline's step; ends", file=sys.stderr, flush=True)
        if not self._stepping:
            os.kill(os.getpid(), signal.SIGTERM)
