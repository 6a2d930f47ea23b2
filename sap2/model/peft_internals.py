"""What of PEFT our adapters need beyond its documented interface: batches of several adapters with modules saved whole.

Read at peft 0.21.2; tests/model/test_loading.py fails when what is relied on here changes.
"""

from types import MethodType

from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

BASE = "__base__"  # PEFT's name, in a batch of several adapters, for none


def allow_mixed_batches(model: nn.Module) -> None:
    """Let modules that adapters save whole take `adapter_names`, each row its own adapter's.

    PEFT does so for linear layers, embeddings and convolutions alone, and refuses others.
    """
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module._mixed_batch_forward = MethodType(_mixed_batch_forward, module)


def _mixed_batch_forward(self: ModulesToSaveWrapper, *args, adapter_names: list[str], **kwargs):
    """PEFT's method for any module whose arguments and results all begin with the batch."""
    outputs: list = [None] * len(adapter_names)
    for name in dict.fromkeys(adapter_names):
        rows = [row for row, own in enumerate(adapter_names) if own == name]
        module = self.original_module if name == BASE else self.modules_to_save[name]
        output = module(*(value[rows] if isinstance(value, Tensor) else value for value in args), **kwargs)
        tensors = output if isinstance(output, tuple) else (output,)
        for place, row in enumerate(rows):
            outputs[row] = [tensor[place] for tensor in tensors]
    joined = tuple(nn.utils.rnn.pad_sequence(column, batch_first=True) for column in zip(*outputs, strict=True))
    return joined if len(joined) > 1 else joined[0]
