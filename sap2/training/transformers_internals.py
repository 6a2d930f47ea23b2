"""What of transformers' Trainer and accelerate our training overrides or resets beyond their documented interface.

Read at transformers 5.24.0 and accelerate 1.15.0; tests/test_internals.py fails when what is relied on here changes.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.data import SequentialSampler
from transformers import Trainer

from sap2.files import writing
from sap2.training import checkpoints
from sap2.training.collator import only


class PlannedTrainer(Trainer):
    """Trainer that takes the planned batches in their order, and evaluates with a collator of dev's own.

    A checkpoint keeps the loss since the last log line, so that the next line is the same with and without a break.

    Args:
        folder: Of the checkpoints.
        dev_collator: Collator of dev, which resolves the paths of dev's recordings.
        dev_score: Called with the model after each evaluation; its result is logged as `eval_NAME`. None = no score.
        unlogged: `loss` and `since` of the checkpoint that is resumed from; may be empty.
    """

    def __init__(
        self,
        *args,
        folder: Path,
        dev_collator: Callable,
        dev_score: Any | None = None,
        unlogged: dict[str, float],
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self._folder, self._dev_collator, self._dev_score = folder, dev_collator, dev_score
        self._resumed_loss, self._unlogged = dict(unlogged), None

    def _maybe_log_save_evaluate(self, tr_loss, *args, **kwargs):
        if self._resumed_loss:
            tr_loss += self._resumed_loss.pop("loss")
            self._globalstep_last_logged = self._resumed_loss.pop("since")
        self._unlogged = tr_loss
        super()._maybe_log_save_evaluate(tr_loss, *args, **kwargs)

    def _save_checkpoint(self, *args, **kwargs):
        checkpoint = self._folder / f"checkpoint-{self.state.global_step}"
        with writing(checkpoint):
            super()._save_checkpoint(*args, **kwargs)
            loss = self.accelerator.gather(self._unlogged).mean().item()
            if self.is_world_process_zero():
                checkpoints.keep_loss(checkpoint, loss, self._globalstep_last_logged)

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)

    def get_eval_dataloader(self, eval_dataset=None):
        self.data_collator = self._dev_collator
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = only

    def evaluation_loop(self, *args, **kwargs):
        output = super().evaluation_loop(*args, **kwargs)
        if self._dev_score is not None:
            output.metrics[f"eval_{self._dev_score.name}"] = self._dev_score(self.model)
        return output


def checkpointing_name(arguments: type) -> str:
    """The training argument that computes activations again: renamed in transformers 5.24."""
    known = arguments.__dataclass_fields__
    return "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"


@contextmanager
def without_traces() -> Iterator[None]:
    """Reset what a Trainer leaves behind in the process, however it ends: DeepSpeed's settings, accelerate's state."""
    try:
        yield
    finally:
        from accelerate.state import AcceleratorState
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        unset_hf_deepspeed_config()
        AcceleratorState._reset_state(reset_partial_state=True)
        gc.collect()
