"""Training step of both stages: time, tokens, share of the peak and memory, with the estimates of `sap2 plan`.

LoRA of the 7B profile, 32 utterances of 10 s, autocast to bf16 with the adapter in float32, as the trainer runs
without DeepSpeed; one case has the adapter in bf16, as with DeepSpeed.
"""

import torch
from bases import checkpointing
from figures import planned, tera_operations
from material import STAGES, batch_of, load_of, make_samples
from measuring import largest_batch, median_seconds, peak_gb, peak_tflops, reserved_gb, reset_peak

CLIP = 1.0


def measure(run) -> None:
    processor = run.shape.processor()
    model = run.shape.adapted(run.shape.build(processor, run.device))

    def case(name: str, stage: str, rows: int, needs: float, **options) -> None:
        def measure_rows(count: int) -> dict:
            return step(run, model, processor, stage, count, **options)

        run.case(name, needs, lambda: largest_batch(rows, measure_rows))

    for stage in STAGES:
        case(f"{stage}, checkpointing", stage, run.scale.rows, 20)
    case("recogniser, no checkpointing", "recogniser", max(1, run.scale.rows // 4), 10, checkpointed=False)
    for weight in trained(model):
        weight.data = weight.data.bfloat16()
    case("pruner, checkpointing, bf16 adapter", "pruner", run.scale.rows, 20, zero="zero2")


def step(run, model, processor, stage: str, rows: int, checkpointed: bool = True, zero: str = "none") -> dict:
    """Measure a stage's training step.

    Args:
        checkpointed: Use gradient checkpointing.
        zero: `none`, or a ZeRO stage, which determines the adapter's precision.
    """
    scale, base = run.scale, model.get_base_model()
    samples = make_samples(processor, stage, rows, scale.seconds, scale.listed, scale.transcribed)
    batch, losses = batch_of(processor, samples, run.device), []
    optimizer = torch.optim.AdamW(trained(model), lr=1e-4, fused=run.device.type == "cuda")
    base.config.use_cache = base.config.text_config.use_cache = False

    def train_step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=zero == "none"):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained(model), CLIP)
        optimizer.step()
        losses.append(loss.detach())

    def encoder():
        with torch.no_grad():
            base.encode_speech(batch["input_features"], batch["feature_attention_mask"])

    try:
        with checkpointing(model.train(), checkpointed):
            reset_peak(run.device)
            seconds = median_seconds(run, train_step)
            peak_memory, reserved = peak_gb(run.device), reserved_gb(run.device)
        encoder_seconds = median_seconds(run, encoder)
    finally:
        model.zero_grad(set_to_none=True)
        model.eval()
    load, peak = load_of(batch, processor.audio_token_id), peak_tflops(run.device)
    family = run.shape.family
    useful, done = (tera_operations(family, model, rows, load, recomputed) for recomputed in (False, checkpointed))
    return {
        "rows": rows,
        "tokens_per_utterance": load.tokens,
        "list_tokens": load.context,
        "step_seconds": seconds,
        "encoder_seconds": encoder_seconds,
        "utterances_per_second": rows / seconds,
        "tokens_per_second": rows * load.tokens / seconds,
        "tflops_done": done / seconds,
        "mfu": useful / seconds / peak if peak else None,
        "share_of_peak_with_recomputation": done / seconds / peak if peak else None,
        "peak_gb": peak_memory,
        "reserved_gb": reserved,
        **planned(family, model, rows, load, checkpointed, zero, peak),
        "first_loss": losses[0].item(),
        "last_loss": losses[-1].item(),
    }


def trained(model) -> list[torch.nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]
