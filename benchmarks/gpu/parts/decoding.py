"""Decoding of both stages: milliseconds per token and utterances per second, with lists of 100 and 2,000 keywords.

Batches are those of params.yaml: 16 rows, or fewer to stay within 16,384 tokens. Every answer has the length that
`sap2 plan` assumes for 10 s of speech. The adapter is in float32, as PEFT loads it, in bf16, or disabled, as if merged
into the base. The time to compute log-mel features is not included.
"""

from contextlib import nullcontext

import torch
from generating import Generation, per_token, prompt_of
from material import STAGES, encoded, features_of, make_samples, noise
from measuring import largest_batch, median_seconds, peak_gb, reset_peak, timed

from sap2.inference.decoding import answers


def measure(run) -> None:
    processor = run.shape.processor()
    model = run.shape.adapted(run.shape.build(processor, run.device)).eval()
    short, *longer = run.scale.lists

    def case(name: str, needs: float, listed: int, adapter: bool = True) -> None:
        rows = rows_of(processor, run.scale, listed)
        run.case(
            f"{name}, N = {listed:,}", needs,
            lambda: largest_batch(rows, lambda count: two_stages(run, model, processor, listed, count, adapter)),
        )  # fmt: skip

    case("float32 adapter", 15, short)
    for listed in longer:
        case("float32 adapter", 20, listed)
    for listed in run.scale.lists:
        rows = rows_of(processor, run.scale, listed)
        name = f"the project's `answers`, float32 adapter, N = {listed:,}"
        run.case(name, 10, lambda n=listed, count=rows: project_decoding(run, model, processor, n, count))
    run.case(f"one by one, padded to 30 s, N = {short:,}", 10, lambda: one_by_one(run, model, processor, short))
    case("no adapter", 10, short, adapter=False)
    for weight in model.parameters():
        weight.data = weight.data.bfloat16()
    case("bf16 adapter", 10, short)


def rows_of(processor, scale, listed: int) -> int:
    """Return the number of rows per batch for lists of `listed` keywords."""
    samples = make_samples(processor, "pruner", 1, scale.seconds, listed, 0)
    frames = processor.frames(len(samples.waves[0]))
    length = processor.prompt_length(samples.prompts[0], samples.keywords[0], frames) + scale.selected
    return max(1, min(scale.decode_rows, scale.decode_tokens // length))


def two_stages(run, model, processor, listed: int, rows: int, adapter: bool) -> dict:
    """Measure a batch: encoding, stage 1's answer and stage 2's answer."""
    scale = run.scale
    reset_peak(run.device)
    with nullcontext() if adapter else model.disable_adapter():
        samples = make_samples(processor, "pruner", rows, scale.seconds, listed, scale.transcribed)
        features = features_of(processor, samples.waves, run.device)
        encoding = median_seconds(run, lambda: encoded(model, features))
        figures, total = {"rows": rows, "encoding_seconds": encoding}, encoding
        for stage, tokens in zip(STAGES, (scale.selected, scale.transcribed), strict=True):
            samples = make_samples(processor, stage, rows, scale.seconds, listed, scale.transcribed)
            generation = Generation(model, processor, prompt_of(model, processor, samples, run.device))
            prefill, whole = generation.seconds(run, 1), generation.seconds(run, tokens, warm=0)
            figures |= {
                f"{stage}_prompt_tokens": generation.inputs["input_ids"].shape[1],
                f"{stage}_prefill_seconds": prefill,
                f"{stage}_ms_per_token": per_token(prefill, whole, tokens),
                f"{stage}_answer_seconds": whole,
            }
            total += whole
    return figures | {"utterances_per_second": rows / total, "peak_gb": peak_gb(run.device)}


def project_decoding(run, model, processor, listed: int, rows: int) -> dict:
    """Measure `sap2.inference.decoding.answers`: stage 1 constrained to its list and scored, stage 2 unconstrained."""
    scale, figures, total = run.scale, {"rows": rows}, 0.0
    for stage, tokens in zip(STAGES, (scale.selected, scale.transcribed), strict=True):
        samples = make_samples(processor, stage, rows, scale.seconds, listed, scale.transcribed)
        states, mask = encoded(model, features_of(processor, samples.waves, run.device))
        rows_states = [row[: int(valid.sum())].cpu() for row, valid in zip(states, mask, strict=True)]
        steps = Steps(model.get_base_model().lm_head)

        def answer(stage=stage, samples=samples, rows_states=rows_states, tokens=tokens):
            answers(
                model, processor, rows_states, samples.prompts, samples.keywords, batch_size=rows,
                batch_tokens=10**9, max_new_tokens=tokens, selecting=stage == "pruner", scored=True,
            )  # fmt: skip

        with steps:
            timed(run.device, answer)
        seconds = median_seconds(run, answer, warm=0)
        figures |= {f"{stage}_answer_seconds": seconds, f"{stage}_steps": steps.count}
        total += seconds
    return figures | {"utterances_per_second_without_encoding": rows / total}


def one_by_one(run, model, processor, listed: int) -> dict:
    """Measure as the public recipe decodes: single utterances, padded to 30 s and encoded again for stage 2."""
    scale = run.scale
    limit = processor.feature_extractor.n_samples / processor.feature_extractor.sampling_rate
    padded = features_of(processor, noise(1, limit), run.device)
    encoding = median_seconds(run, lambda: encoded(model, padded))
    figures, total = {"rows": 1, "encoding_seconds": encoding}, 2 * encoding
    for stage, tokens in zip(STAGES, (scale.selected, scale.transcribed), strict=True):
        samples = make_samples(processor, stage, 1, scale.seconds, listed, scale.transcribed)
        generation = Generation(model, processor, prompt_of(model, processor, samples, run.device))
        prefill, whole = generation.seconds(run, 1), generation.seconds(run, tokens, warm=0)
        figures |= {f"{stage}_ms_per_token": per_token(prefill, whole, tokens), f"{stage}_answer_seconds": whole}
        total += whole
    return figures | {"utterances_per_second": 1 / total}


class Steps:
    """Counter of a model's forward passes."""

    def __init__(self, module: torch.nn.Module):
        self.module, self.count, self._handle = module, 0, None

    def __enter__(self) -> "Steps":
        self._handle = self.module.register_forward_hook(self._add)
        return self

    def __exit__(self, *error) -> None:
        self._handle.remove()

    def _add(self, *call) -> None:
        self.count += 1
