"""The cost of training the two context markers' embeddings: PEFT's `trainable_token_indices`, or two rows of our own.

PEFT copies the whole embedding table in every forward pass, so for every decoded token; rows of our own are added
after the look-up.
"""

import torch
from generating import Answering, per_token, prompt_of
from material import questions
from measuring import GB, median_seconds, peak_gb, reset_peak
from torch import nn


def measure(run) -> None:
    processor = run.shape.processor()
    run.case("no trained rows", 15, lambda: cost(run, processor, plain))
    run.case("rows added after the look-up", 15, lambda: cost(run, processor, own_rows))
    run.case("PEFT's trainable_token_indices", 15, lambda: cost(run, processor, peft_rows))


def cost(run, processor, attach) -> dict:
    """Time and memory of the look-up alone, for a token per row and for a training batch, and of decoding."""
    base = run.shape.build(processor, run.device)
    model = attach(run.shape, base, processor.tokenizer.convert_tokens_to_ids(list(processor.context_tokens[:2])))
    model.eval()
    table, scale = model.get_base_model().get_input_embeddings(), run.scale
    asked = questions(processor, "pruner", scale.decode_rows, scale.seconds, scale.listed, 0)
    inputs = prompt_of(model, processor, asked, run.device)
    one, whole = inputs["input_ids"][:, -1:], inputs["input_ids"]

    def look_up():
        with torch.no_grad():
            table(one)

    def train():
        model.zero_grad(set_to_none=True)
        embedded = table(whole)
        if embedded.requires_grad:
            embedded.float().sum().backward()

    token = median_seconds(run, look_up, warm=3)
    reset_peak(run.device)
    held = torch.cuda.memory_allocated(run.device) if run.device.type == "cuda" else None
    training = median_seconds(run, train)
    most = peak_gb(run.device)
    model.zero_grad(set_to_none=True)
    answering = Answering(model, processor, inputs)
    prefill, answer = answering.seconds(run, 1), answering.seconds(run, scale.transcribed, warm=0)
    return {
        "rows": scale.decode_rows,
        "look_up_ms_per_token": 1000 * token,
        "training_look_up_ms": 1000 * training,
        "training_look_up_extra_gb": most - held / GB if held is not None else None,
        "decoding_ms_per_token": per_token(prefill, answer, scale.transcribed),
    }


def plain(shape, base, markers: list[int]):
    return shape.adapted(base)


def peft_rows(shape, base, markers: list[int]):
    return shape.adapted(base, trainable_token_indices={"embed_tokens": markers})


def own_rows(shape, base, markers: list[int]):
    model, table = shape.adapted(base), base.get_input_embeddings()
    table.rows = nn.Parameter(torch.zeros(2, table.embedding_dim, device=table.weight.device))
    first, last = markers

    def add(module, arguments, embedded):
        ids = arguments[0]
        end = ids == last
        moved = (embedded.float() + module.rows[end.long()]).to(embedded.dtype)
        return torch.where((end | (ids == first))[..., None], moved, embedded)

    table.register_forward_hook(add)
    return model
