"""Check that requested accelerators are present before work begins, so that nothing trains silently on the CPU."""

import os

from sap2.errors import ModelError

__all__ = ["VARIABLE", "check_accelerators", "wanted"]

VARIABLE = "SAP2_ACCELERATORS"  # set in pods with accelerators: their number
# Oldest driver for Linux by major version of CUDA: CUDA Toolkit Release Notes, "CUDA Toolkit and Driver Versions".
DRIVERS = {"11": "450.80.02", "12": "525.60.13", "13": "580.65.06"}


def wanted(number: int | None = None) -> int:
    """Return the number of requested accelerators: `number`, else the pod's environment variable; 0 = none."""
    return number if number is not None else int(os.environ.get(VARIABLE) or 0)


def check_accelerators(number: int) -> None:
    """Check that torch sees `number` accelerators; 0 requires none.

    Raises: ModelError: torch sees fewer; the message names driver and image.
    """
    if number == 0:
        return
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen >= number:
        return
    count = f"{number} accelerator{'s' * (number > 1)} requested, torch {torch.__version__} sees {seen or 'none'}"
    if torch.version.cuda is None and torch.version.hip is None:
        raise ModelError(
            f"{count}: torch is a build for CPUs; install the build for GPUs, or use an image built without "
            "PIP_EXTRA_INDEX_URL=…/cpu; to train on CPUs, set resources.training_accelerators to 0"
        )
    if seen:
        raise ModelError(f"{count}: check the node's GPUs with nvidia-smi, and CUDA_VISIBLE_DEVICES; or request {seen}")
    driver = DRIVERS.get((torch.version.cuda or "").partition(".")[0])
    needed = f"NVIDIA's driver {driver} or later" if driver else "its vendor's driver"
    raise ModelError(
        f"{count} ({_reason()}): torch is built for {_platform()}, which needs {needed} on the node; check nvidia-smi "
        "there, and use an image of that version; to train on CPUs, set resources.training_accelerators to 0"
    )


def _platform() -> str:
    import torch

    return f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"


def _reason() -> str:
    """Return torch's error message about the driver."""
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().partition("\n")[0].rstrip(".")
    return "no device"
