"""Use of DeepSpeed beyond its documented interface.

Checked against DeepSpeed 0.19.8; tests/test_internals.py fails when that code changes.
"""

from torch import nn

__all__ = ["compile_no_operation", "size"]


def compile_no_operation() -> None:
    """Disable DeepSpeed's compiled operations, none of which is used on a CPU.

    Otherwise it would check the compiler for each and build its shared-memory collectives, which needs a C++ compiler
    and a minute at the first run; gloo replaces them.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}


def size(parameter: nn.Parameter) -> int:
    """Return a parameter's number of weights, also if ZeRO-3 keeps only a part of it in this process."""
    return getattr(parameter, "ds_numel", parameter.numel())
