"""What of DeepSpeed our training reaches beyond its documented interface.

Read at DeepSpeed 0.19.8; tests/test_internals.py fails when what is relied on here changes.
"""

from torch import nn

__all__ = ["compile_no_operation", "size"]


def compile_no_operation() -> None:
    """Keep DeepSpeed from compiling: none of its operations is used on a CPU.

    Otherwise it would try a compiler on each, then build its shared-memory collectives: a C++ compiler and a minute at
    the first run, for what gloo does as well.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}


def size(parameter: nn.Parameter) -> int:
    """Number of weights of a parameter, also where ZeRO-3 keeps only a share of it in this process."""
    return getattr(parameter, "ds_numel", parameter.numel())
