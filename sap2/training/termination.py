"""SIGTERM, by which Kubernetes ends a pod: a checkpoint at the end of the step, and out before the grace period is."""

import torch
from torch import distributed
from transformers import TrainerCallback

from sap2.errors import Stopped
from sap2.training.signals import on_sigterm


class Termination(TrainerCallback):
    """Ends a training that is told to stop; several processes at the same step, whichever of them was told.

    Between the steps' begin and end a checkpoint is written first; before and after there is nothing to write, what
    is needed to go on lies on disk.
    """

    def __init__(self, stage: str):
        self.stage, self.asked, self._stepping = stage, False, False

    def heard(self):
        """Context in which SIGTERM is heeded."""
        return on_sigterm(self._hear)

    def check(self, where: str) -> None:
        """Raise Stopped if the training was told to stop."""
        if self.asked:
            raise Stopped(
                f"{self.stage}: stopped {where}, as SIGTERM asked; run the stage again: it goes on from there"
            )

    def on_train_begin(self, args, state, control, **kwargs):
        self._stepping = True

    def on_step_end(self, args, state, control, **kwargs):
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            told = torch.tensor(int(self.asked), device=args.device)
            distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
            self.asked = bool(told)
        if self.asked:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        self._stepping = False

    def _hear(self) -> None:
        self.asked = True
        if not self._stepping:
            self.check("before its first or after its last step")
