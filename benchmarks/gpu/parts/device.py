"""The device: its name, and its throughput in matrix products and copies."""

import platform

import accelerate
import peft
import torch
import transformers
from measuring import GB, median_seconds, peak_tflops


def measure(run) -> None:
    run.case("versions", 0, lambda: versions(run.device))
    run.case("bf16 matrix product", 2, lambda: product(run))
    run.case("copy within the device", 2, lambda: copy(run))


def versions(device: torch.device) -> dict:
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "memory_gb": torch.cuda.get_device_properties(device).total_memory / GB if cuda else None,
        "data_sheet_tflops": peak_tflops(device),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "accelerate": accelerate.__version__,
    }


def product(run) -> dict:
    side = run.scale.matrix
    left, right = torch.randn(2, side, side, device=run.device, dtype=torch.bfloat16)

    def ten():
        for _ in range(10):
            left @ right

    seconds = median_seconds(run, ten) / 10
    return {"seconds": seconds, "tflops": 2 * side**3 / seconds / 1e12}


def copy(run) -> dict:
    source = torch.randn(run.scale.matrix, run.scale.matrix, 4, device=run.device)
    target = torch.empty_like(source)
    seconds = median_seconds(run, lambda: target.copy_(source))
    return {"seconds": seconds, "gb_per_second": 2 * source.numel() * source.element_size() / seconds / GB}
