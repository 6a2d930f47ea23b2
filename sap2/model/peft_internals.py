"""Use of PEFT beyond its documented interface: batches of several adapters that have `modules_to_save`.

Checked against peft 0.21.2; tests/model/test_loading.py fails when that code changes.
"""

from types import MethodType
from typing import Any

from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

PATCHED = "_mixed_batch_forward"
BASE = "__base__"  # PEFT's name for rows without an adapter


def allow_mixed_batches(model: nn.Module) -> None:
    """Make modules in `modules_to_save` accept `adapter_names`: each row uses its own adapter's module.

    PEFT supports this only for linear layers, embeddings and convolutions.
    """
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            setattr(module, PATCHED, MethodType(_mixed_batch_forward, module))


def _mixed_batch_forward(
    self: ModulesToSaveWrapper, *args: Any, adapter_names: list[str], **kwargs: Any
) -> Tensor | tuple[Tensor, ...]:
    """Replace PEFT's method, for any module whose arguments and results all have the batch first."""
    outputs: list[list[Tensor]] = [[]] * len(adapter_names)
    for name in dict.fromkeys(adapter_names):
        rows = [row for row, own in enumerate(adapter_names) if own == name]
        module = self.original_module if name == BASE else self.modules_to_save[name]
        output = module(*(value[rows] if isinstance(value, Tensor) else value for value in args), **kwargs)
        tensors = output if isinstance(output, tuple) else (output,)
        for position, row in enumerate(rows):
            outputs[row] = [tensor[position] for tensor in tensors]
    columns = map(list, zip(*outputs, strict=True))
    joined = tuple(nn.utils.rnn.pad_sequence(column, batch_first=True) for column in columns)
    return joined if len(joined) > 1 else joined[0]
