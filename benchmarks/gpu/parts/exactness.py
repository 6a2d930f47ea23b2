"""Comparison of our model's logits with those of the stock transformers class, for equal weights and W = 1.

With W = 1 pooling maps every token to itself. The stock model gets the same prompts, with the list's tokens in them,
and recordings padded to 30 s if it requires that. bf16 rounding depends on lengths and batches, so each case has a
reference value: the difference between a single row and the same row padded in a batch, both by the stock model. As a
control, the difference caused by other speech is measured too.
"""

import gc
import inspect

import torch
from material import Samples, make_samples, noise
from torch import Tensor
from transformers.utils import is_flash_attn_2_available

SECONDS = (1.0, 0.8, 0.5, 0.3)  # length of each row, as a share of the longest


def measure(run) -> None:
    bf16, full = torch.bfloat16, torch.float32
    run.case("float32, first layers, sdpa", 10, lambda: compare(run, full, "sdpa", run.scale.layers))
    run.case("bf16, sdpa", 15, lambda: compare(run, bf16, "sdpa"))
    run.case("bf16, eager", 15, lambda: compare(run, bf16, "eager"))
    if run.device.type == "cuda" and is_flash_attn_2_available():
        run.case("bf16, flash_attention_2", 15, lambda: compare(run, bf16, "flash_attention_2"))
    else:
        run.send(("row", {"case": "bf16, flash_attention_2", "skipped": "flash-attn is not installed, or no GPU"}))


@torch.no_grad()
def compare(run, dtype: torch.dtype, attention: str, layers: int | None = None) -> dict:
    """Compare our model with the stock model, on rows of different lengths padded on the left."""
    torch.backends.cudnn.allow_tf32 = False  # else convolutions would use less than float32
    processor = run.shape.processor(window=1)
    options = {"dtype": dtype, "attention": attention, "layers": layers}
    samples = mixed(processor, run.scale.seconds)
    model = run.shape.build(processor, run.device, **options)
    batch = processor(samples.prompts, samples.keywords, samples.waves)
    ours = model(**{name: tensor.to(run.device) for name, tensor in batch.items()}).logits
    weights = model.state_dict()
    stock = run.shape.build(processor, run.device, stock=True, **options)
    missing = stock.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise ValueError(f"the stock model has weights that ours lacks: {', '.join(missing[:3])}")
    del model, weights
    gc.collect()
    theirs = stock(**stock_inputs(run.shape, processor, batch, samples, stock)).logits
    single = Samples(*(column[-1:] for column in (samples.prompts, samples.keywords, samples.waves, samples.targets)))
    single_batch = processor(single.prompts, single.keywords, single.waves)
    alone = stock(**stock_inputs(run.shape, processor, single_batch, single, stock)).logits
    turned = Samples(samples.prompts, samples.keywords, [wave[::-1] * 0.5 for wave in samples.waves], samples.targets)
    other = stock(**stock_inputs(run.shape, processor, batch, turned, stock)).logits
    valid = batch["attention_mask"].to(run.device).bool()
    mine, wanted = ours[valid].float(), theirs[valid].float()
    return {
        "positions": len(mine),
        "largest_difference": (mine - wanted).abs().max().item(),
        "mean_difference": (mine - wanted).abs().mean().item(),
        "same_likeliest_token": (mine.argmax(-1) == wanted.argmax(-1)).float().mean().item(),
        "yardstick_largest": (theirs[-1][valid[-1]].float() - alone[0].float()).abs().max().item(),
        "other_speech_largest": (other[valid].float() - wanted).abs().max().item(),
        "deviation_of_logits": wanted.std().item(),
    }


def mixed(processor, seconds: float) -> Samples:
    """Make rows with recordings and lists of different lengths."""
    samples = make_samples(processor, "pruner", len(SECONDS), seconds, 8, 0)
    samples.waves = [noise(1, share * seconds)[0] for share in SECONDS]
    samples.keywords = [words[: 2 + 2 * row] for row, words in enumerate(samples.keywords)]
    return samples


def stock_inputs(shape, processor, batch, samples: Samples, model) -> dict[str, Tensor]:
    """Convert our batch for the stock model: list tokens instead of placeholders, and its features' length and name."""
    ids = batch["input_ids"].clone()
    context = processor.tokenizer.convert_tokens_to_ids(processor.context_token)
    ids[ids == context] = batch["context_ids"][batch["context_windows"] >= 0]
    extractor = processor.feature_extractor
    # Rows are padded to the longest: a row of 30 s is appended, and removed afterwards.
    longest = noise(1, extractor.n_samples / extractor.sampling_rate) if shape.pads else []
    features = {name: tensor[: len(ids)] for name, tensor in processor.features([*samples.waves, *longest]).items()}
    features["input_features"] = features["input_features"].to(model.dtype)
    if "input_features_mask" in inspect.signature(shape.stock.forward).parameters:
        features["input_features_mask"] = features.pop("feature_attention_mask")
    inputs = {"input_ids": ids, "attention_mask": batch["attention_mask"], **features}
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}
