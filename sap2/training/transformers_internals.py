"""Use of transformers' Trainer and of accelerate beyond their documented interfaces.

Checked against transformers 5.24.0 and accelerate 1.15.0; tests/test_internals.py fails when that code changes.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

from sap2.files import writing
from sap2.training import checkpoints
from sap2.training.collator import Example, only
from sap2.training.dev_score import DevScore


class PlannedTrainer(Trainer):
    """Trainer that trains the planned batches in order, and evaluates with dev's own collator.

    A checkpoint includes the loss since the last log line, so that an interruption does not change the next line.

    Args:
        folder: Folder of the checkpoints.
        dev_collator: Collator of dev, which resolves the paths of dev's recordings.
        dev_score: Called with the model after each evaluation; its result is logged as `eval_NAME`. None = no score.
        unlogged: `loss` and `since` of the resumed checkpoint; may be empty.
    """

    def __init__(
        self,
        *args,
        folder: Path,
        dev_collator: Callable[[Sequence[Example]], dict[str, Tensor]],
        dev_score: DevScore | None = None,
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


def checkpointing_name(arguments: type[TrainingArguments]) -> str:
    """Return the name of the training argument that recomputes activations: renamed in transformers 5.24."""
    known = {field.name for field in fields(arguments)}
    return "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"


@contextmanager
def without_traces() -> Iterator[None]:
    """Reset a Trainer's global state, however it ends: DeepSpeed's settings and accelerate's state."""
    try:
        yield
    finally:
        from accelerate.state import AcceleratorState
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        unset_hf_deepspeed_config()
        AcceleratorState._reset_state(reset_partial_state=True)
        gc.collect()
