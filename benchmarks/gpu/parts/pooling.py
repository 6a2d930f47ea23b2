"""Share of the pooling in a training step, and in the prefill of a long list."""

import torch
from bases import checkpointing
from generating import prompt_of
from material import batch_of, encoded, features_of, make_samples
from measuring import median_seconds

from parts.decoding import rows_of


def measure(run) -> None:
    processor = run.shape.processor()
    model = run.shape.adapted(run.shape.build(processor, run.device))
    rows = max(1, run.scale.rows // 2)  # half the rows fit into memory, and the share is the same
    run.case(f"training step, N = {run.scale.listed}", 20, lambda: training(run, model, processor, rows))
    for listed in run.scale.lists:
        run.case(f"prefill, N = {listed:,}", 5, lambda n=listed: prefill(run, model, processor, n))


def training(run, model, processor, rows: int) -> dict:
    samples = make_samples(processor, "pruner", rows, run.scale.seconds, run.scale.listed, 0)
    batch = batch_of(processor, samples, run.device)
    core = model.get_base_model().model
    speech, mask = projected(run, model, processor, samples)

    def step():
        model.zero_grad(set_to_none=True)
        with torch.autocast(run.device.type, torch.bfloat16):
            loss = model(**batch, use_cache=False).loss
        loss.backward()

    def pooling():
        frames = speech.detach().requires_grad_()
        with torch.autocast(run.device.type, torch.bfloat16):
            pooled, _ = core.pool(batch["context_ids"], batch["context_windows"], frames, mask)
        pooled.float().sum().backward()

    with checkpointing(model.train(), True):
        whole = median_seconds(run, step)
    model.zero_grad(set_to_none=True)
    return figures(rows, batch["context_ids"].shape[1], whole, median_seconds(run, pooling))


@torch.no_grad()
def prefill(run, model, processor, listed: int) -> dict:
    rows = rows_of(processor, run.scale, listed)
    samples = make_samples(processor, "pruner", rows, run.scale.seconds, listed, 0)
    inputs = prompt_of(model.eval(), processor, samples, run.device)
    core = model.get_base_model().model
    speech, mask = projected(run, model, processor, samples)
    whole = median_seconds(run, lambda: model(**inputs, logits_to_keep=1))
    pooling = median_seconds(
        run, lambda: core.pool(inputs["context_ids"], inputs["context_windows"], speech, mask)
    )  # fmt: skip
    return figures(rows, inputs["context_ids"].shape[1], whole, pooling)


@torch.no_grad()
def projected(run, model, processor, samples):
    states, mask = encoded(model, features_of(processor, samples.waves, run.device))
    return model.get_base_model().model.multi_modal_projector(states), mask


def figures(rows: int, context: int, whole: float, pooling: float) -> dict:
    return {
        "rows": rows, "list_tokens": context, "whole_seconds": whole, "pooling_seconds": pooling,
        "share": pooling / whole,
    }  # fmt: skip
