"""Cost of trained embeddings for the two context markers: PEFT's `trainable_token_indices`, and our two rows.

PEFT copies the entire embedding table in every forward pass, so for every decoded token; our rows
(`sap2.model.markers`) are added after the embedding lookup.
"""

import torch
from generating import Generation, per_token, prompt_of
from material import make_samples
from measuring import GB, median_seconds, peak_gb, reset_peak

from sap2.model import MARKERS


def measure(run) -> None:
    processor = run.shape.processor()
    run.case("no trained rows", 15, lambda: cost(run, processor, plain))
    run.case("rows added after the look-up", 15, lambda: cost(run, processor, own_rows))
    run.case("PEFT's trainable_token_indices", 15, lambda: cost(run, processor, peft_rows))


def cost(run, processor, attach) -> dict:
    """Measure the embedding lookup (a token per row, and a training batch) and decoding: time and memory."""
    model, scale = attach(run, processor).eval(), run.scale
    core = model.get_base_model().model
    samples = make_samples(processor, "pruner", scale.decode_rows, scale.seconds, scale.listed, 0)
    inputs = prompt_of(model, processor, samples, run.device)
    last_ids, prompt_ids = inputs["input_ids"][:, -1:], inputs["input_ids"]

    def embedded(ids):
        return core.context_markers(core.get_input_embeddings()(ids), ids)

    def look_up():
        with torch.no_grad():
            embedded(last_ids)

    def train():
        model.zero_grad(set_to_none=True)
        vectors = embedded(prompt_ids)
        if vectors.requires_grad:
            vectors.float().sum().backward()

    token = median_seconds(run, look_up, warm=3)
    reset_peak(run.device)
    held = torch.cuda.memory_allocated(run.device) if run.device.type == "cuda" else None
    training = median_seconds(run, train)
    peak = peak_gb(run.device)
    model.zero_grad(set_to_none=True)
    generation = Generation(model, processor, inputs)
    prefill, answer = generation.seconds(run, 1), generation.seconds(run, scale.transcribed, warm=0)
    return {
        "rows": scale.decode_rows,
        "look_up_ms_per_token": 1000 * token,
        "training_look_up_ms": 1000 * training,
        "training_look_up_extra_gb": peak - held / GB if held is not None else None,
        "decoding_ms_per_token": per_token(prefill, answer, scale.transcribed),
    }


def plain(run, processor):
    return run.shape.adapted(run.shape.build(processor, run.device))


def own_rows(run, processor):
    base = run.shape.build(processor, run.device, trained_markers=True)
    return run.shape.adapted(base, modules_to_save=[MARKERS])


def peft_rows(run, processor):
    markers = processor.tokenizer.convert_tokens_to_ids(list(processor.context_tokens[:2]))
    base = run.shape.build(processor, run.device)
    return run.shape.adapted(base, trainable_token_indices={"embed_tokens": markers})
