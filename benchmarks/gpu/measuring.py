"""Seconds, memory, and what a device can do at most."""

import gc
import statistics
import time
from collections.abc import Callable

import torch

from sap2.errors import out_of_memory

GB = 1e9
# bf16, dense, 10¹² operations a second by the data sheets; the first name that the device's name contains counts.
PEAKS = {
    "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200": 989, "GH200": 989, "B200": 2250, "A100": 312, "A800": 312,
    "L40S": 362, "L4": 121, "A10": 125, "RTX 4090": 165,
}  # fmt: skip


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, call: Callable[[], object]) -> float:
    """Seconds of a call, the device's work included."""
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started


def median_seconds(run, call: Callable[[], object], warm: int = 1) -> float:
    """The median of the run's repetitions: at least 1, at most as many as the part's time allows."""
    for _ in range(warm):
        timed(run.device, call)
    taken = []
    while len(taken) < run.scale.repeats and (not taken or time.monotonic() < run.until):
        taken.append(timed(run.device, call))
    return statistics.median(taken)


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gb(device: torch.device) -> float | None:
    """Most memory in tensors since `reset_peak`; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / GB if device.type == "cuda" else None


def reserved_gb(device: torch.device) -> float | None:
    """Most memory that PyTorch held since `reset_peak`, what lay unused between tensors included; None on a CPU."""
    return torch.cuda.max_memory_reserved(device) / GB if device.type == "cuda" else None


def peak_tflops(device: torch.device) -> float | None:
    """The data sheet's 10¹² operations a second; None where the device is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def largest(rows: int, measure: Callable[[int], dict]) -> dict:
    """Measure with `rows` rows, or half of them, and so on, until they fit the memory."""
    refused = []
    while True:
        try:
            return measure(rows) | ({"out_of_memory_at": refused} if refused else {})
        except RuntimeError as error:
            if rows == 1 or not (out_of_memory(error) or "ALLOC_FAILED" in str(error)):  # so cuBLAS says it
                raise
        refused.append(rows)
        rows //= 2
        gc.collect()
        torch.cuda.empty_cache()
