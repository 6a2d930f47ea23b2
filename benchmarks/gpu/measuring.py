"""Measurement of time and memory, and the peak throughput of devices."""

import gc
import statistics
import time
from collections.abc import Callable

import torch

from sap2.errors import out_of_memory

GB = 1e9
# Dense bf16 TFLOPS from the data sheets; the first entry that the device's name contains applies.
PEAKS = {
    "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200": 989, "GH200": 989, "B200": 2250, "A100": 312, "A800": 312,
    "L40S": 362, "L4": 121, "A10": 125, "RTX 4090": 165,
}  # fmt: skip


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, call: Callable[[], object]) -> float:
    """Return the seconds of a call, including the device's work."""
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started


def median_seconds(run, call: Callable[[], object], warm: int = 1) -> float:
    """Return the median of the run's repetitions: at least one, and no further ones after the part's time limit."""
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
    """Return the peak memory in tensors since `reset_peak`; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / GB if device.type == "cuda" else None


def reserved_gb(device: torch.device) -> float | None:
    """Return the peak memory that PyTorch reserved since `reset_peak`, unused blocks included; None on a CPU."""
    return torch.cuda.max_memory_reserved(device) / GB if device.type == "cuda" else None


def peak_tflops(device: torch.device) -> float | None:
    """Return the data sheet's TFLOPS; None if the device is unknown."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def largest_batch(rows: int, measure: Callable[[int], dict]) -> dict:
    """Measure with `rows` rows, and halve their number until the batch fits into memory."""
    refused = []
    while True:
        try:
            return measure(rows) | ({"out_of_memory_at": refused} if refused else {})
        except RuntimeError as error:
            if rows == 1 or not (out_of_memory(error) or "ALLOC_FAILED" in str(error)):  # cuBLAS's error
                raise
        refused.append(rows)
        rows //= 2
        gc.collect()
        torch.cuda.empty_cache()
