"""Comparison of our training step with the public recipe's (benchmarks/model/baseline.py), at equal loss.

Both run forward and backward pass with gradient checkpointing, and pool by the plain mean over fixed windows, the only
pooling that the public code computes. Features and tokens are prepared before the measurement.
"""

import statistics
import sys

import torch
from bases import checkpointing
from material import STAGES, batch_of, make_samples
from measuring import largest_batch, peak_gb, reset_peak, timed
from packages import ROOT


def measure(run) -> None:
    if not run.shape.pads:
        run.send(("row", {"case": "both stages", "skipped": "the public code runs on Qwen2-Audio alone"}))
        return
    processor = run.shape.processor(windows="fixed")
    base = run.shape.build(processor, run.device, weighting="mean", windows="fixed")
    model = run.shape.adapted(base, dropout=0.0)  # no dropout: both must compute the same loss
    for stage in STAGES:
        run.case(
            stage, 25,
            lambda stage=stage: largest_batch(run.scale.rows, lambda rows: sides(run, model, processor, stage, rows)),
        )  # fmt: skip


def sides(run, model, processor, stage: str, rows: int) -> dict:
    """Measure both steps alternately, on the same batch."""
    sys.path.append(str(ROOT / "benchmarks" / "model"))
    from baseline import baseline_loss, baseline_rows, padded_features

    scale = run.scale
    samples = make_samples(processor, stage, rows, scale.seconds, scale.listed, scale.transcribed)
    batch = batch_of(processor, samples, run.device)
    public_rows = baseline_rows(processor, samples.prompts, samples.keywords, samples.waves, samples.targets)
    public_rows = [{name: tensor.to(run.device) for name, tensor in row.items()} for row in public_rows]
    features = {name: tensor.to(run.device) for name, tensor in padded_features(processor, samples.waves).items()}
    losses: dict[str, float] = {}

    def step(name: str, loss_of) -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(run.device.type, torch.bfloat16):
            loss = loss_of()
        loss.backward()
        losses[name] = loss.item()

    calls = {
        "ours": lambda: step("ours", lambda: model(**batch, use_cache=False).loss),
        "public": lambda: step("public", lambda: baseline_loss(model, public_rows, features)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    memory = {}
    try:
        with checkpointing(model.train(), True):
            for turn in range(scale.repeats + 1):
                for name, call in calls.items():
                    reset_peak(run.device)
                    taken = timed(run.device, call)
                    memory[name] = peak_gb(run.device)
                    if turn:
                        seconds[name].append(taken)
    finally:
        model.zero_grad(set_to_none=True)
        model.eval()
    ours, public = (statistics.median(seconds[name]) for name in calls)
    return {
        "rows": rows,
        "our_seconds": ours,
        "public_seconds": public,
        "times": public / ours,
        "our_peak_gb": memory["ours"],
        "public_peak_gb": memory["public"],
        "our_loss": losses["ours"],
        "public_loss": losses["public"],
    }
