"""Early end or checkpoint of a training: at the end of a step, the same step in all processes.

Kubernetes ends a pod by SIGTERM. A lost heartbeat means that the pipeline's step, which waits for this training on
several nodes, has ended. Checkpoints are saved at intervals too, as a pod may end without notice.
"""

import os
import signal
import sys
import threading
import time
from contextlib import AbstractContextManager

import torch
from torch import distributed
from transformers import TrainerCallback

from sap2.errors import Abandoned, Stopped
from sap2.heartbeat import Heartbeat, watched
from sap2.training.signals import on_sigterm

RUNNING, ABANDONED, STOPPED = 0, 1, 2  # the maximum over all processes applies


class Termination(TrainerCallback):
    """Callback that ends a stopped or abandoned training, and saves a checkpoint every `save_minutes`.

    During the steps a checkpoint is saved first. Before the first and after the last step that is not needed: all that
    a resumed run reads is on disk.
    """

    def __init__(self, stage: str, save_minutes: float | None = None):
        self.stage, self._end, self._stepping = stage, RUNNING, False
        self._save_seconds = None if save_minutes is None else 60 * save_minutes
        self._saved = time.monotonic()
        self._heartbeat: Heartbeat | None = watched()
        self._watch: threading.Event | None = None
        if self._heartbeat is not None:
            self._watch = self._heartbeat.watch(self._abandon)

    def handle_sigterm(self) -> AbstractContextManager[None]:
        """Return a context in which SIGTERM ends the training in order."""
        return on_sigterm(self._stop)

    def check(self, where: str) -> None:
        """End a training that must end.

        Raises: Stopped: SIGTERM was received. Abandoned: the heartbeat is lost.
        """
        if self._end == STOPPED:
            raise Stopped(f"{self.stage}: stopped {where} by SIGTERM; run the stage again to resume it from there")
        if self._end == ABANDONED and self._heartbeat is not None:
            raise Abandoned(
                f"{self.stage}: ended {where}: no heartbeat of the pipeline's step for {self._heartbeat.limit:g} s in "
                f"{self._heartbeat.file}; submit the pipeline again to resume from there"
            )

    def close(self) -> None:
        """Stop watching the heartbeat."""
        if self._watch is not None:
            self._watch.set()

    def on_train_begin(self, args, state, control, **kwargs):
        self._stepping, self._saved = True, time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        due = self._save_seconds is not None and time.monotonic() - self._saved > self._save_seconds
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            state_of_all = torch.tensor([self._end, int(due)], device=args.device)
            distributed.all_reduce(state_of_all, op=distributed.ReduceOp.MAX)
            self._end, due = int(state_of_all[0]), bool(state_of_all[1])
        if self._end != RUNNING:
            control.should_save = control.should_training_stop = True
        elif due:
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        self._saved = time.monotonic()

    def on_train_end(self, args, state, control, **kwargs):
        self._stepping = False

    def _stop(self) -> None:
        self._end = self._end or STOPPED
        if not self._stepping:
            self.check("before its first or after its last step")

    def _abandon(self) -> None:
        """End the training without a heartbeat; outside the steps by a signal."""
        self._end = max(self._end, ABANDONED)
        print(f"{self.stage}: no heartbeat of the pipeline's step; ending", file=sys.stderr, flush=True)
        if not self._stepping:
            os.kill(os.getpid(), signal.SIGTERM)
