"""Accelerators that are wanted are there, or the work does not begin: never a silent training on the CPU."""

import os

from sap2.errors import ModelError

__all__ = ["VARIABLE", "check_accelerators", "wanted"]

VARIABLE = "SAP2_ACCELERATORS"  # set in pods that got some: their number
# Oldest driver for Linux by major version of CUDA: CUDA Toolkit Release Notes, "CUDA Toolkit and Driver Versions".
DRIVERS = {"11": "450.80.02", "12": "525.60.13", "13": "580.65.06"}


def wanted(number: int | None = None) -> int:
    """How many accelerators this process's work was given: `number`, else by the pod's environment; 0 = none."""
    return number if number is not None else int(os.environ.get(VARIABLE) or 0)


def check_accelerators(number: int) -> None:
    """Check that torch sees `number` accelerators; 0 wants none.

    Raises: ModelError: it sees fewer; the message names driver and image.
    """
    if number == 0:
        return
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen >= number:
        return
    count = f"{number} accelerator{'s' * (number > 1)} wanted, torch {torch.__version__} sees {seen or 'none'}"
    if torch.version.cuda is None and torch.version.hip is None:
        raise ModelError(
            f"{count}: it is a build for CPUs; install the one for GPUs, or use an image built without "
            "PIP_EXTRA_INDEX_URL=…/cpu; to train on CPUs, set resources.training_accelerators to 0"
        )
    if seen:
        raise ModelError(
            f"{count}: see what the node has with nvidia-smi, and what CUDA_VISIBLE_DEVICES hides; or ask for {seen}"
        )
    driver = DRIVERS.get((torch.version.cuda or "").partition(".")[0])
    needed = f"NVIDIA's driver {driver} or later" if driver else "its vendor's driver"
    raise ModelError(
        f"{count} ({_reason()}): it is built for {_platform()}, which needs {needed} on the node, see nvidia-smi "
        "there, and an image of that version; to train on CPUs, set resources.training_accelerators to 0"
    )


def _platform() -> str:
    import torch

    return f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"


def _reason() -> str:
    """What torch says of the driver."""
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().partition("\n")[0].rstrip(".")
    return "no device"
