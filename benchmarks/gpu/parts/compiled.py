"""Time per token with a static cache, eager and compiled by `generate` (`torch.compile`, CUDA graphs).

On a GPU `generate` compiles automatically if the cache is static. On a CPU the captured graph is run without
compilation.
"""

import torch
from generating import Generation, per_token, prompt_of
from material import encoded, features_of, make_samples
from measuring import median_seconds, peak_gb, reset_peak, timed
from transformers import CompileConfig

from parts.decoding import rows_of


def measure(run) -> None:
    processor = run.shape.processor()
    model = run.shape.adapted(run.shape.build(processor, run.device)).eval()
    short, *longer = run.scale.lists
    run.case(f"static cache, no adapter, N = {short:,}", 10, lambda: static(run, model, processor, short, False, False))
    run.case(f"compiled, no adapter, N = {short:,}", 60, lambda: static(run, model, processor, short, False, True))
    run.case(f"compiled, float32 adapter, N = {short:,}", 90, lambda: static(run, model, processor, short, True, True))
    for listed in longer:
        name = f"compiled, no adapter, N = {listed:,}"
        run.case(name, 70, lambda n=listed: static(run, model, processor, n, False, True))


def static(run, model, processor, listed: int, adapter: bool, compiled: bool) -> dict:
    """Measure stage 1's prompt with `listed` keywords, and an answer as long as stage 2's transcript."""
    torch.compiler.reset()
    base, scale = model.get_base_model(), run.scale
    base.__dict__.pop("_compiled_call", None)
    rows, tokens = rows_of(processor, scale, listed), scale.transcribed
    samples = make_samples(processor, "pruner", rows, scale.seconds, listed, 0)
    inputs = prompt_of(model, processor, samples, run.device)
    options = {"cache_implementation": "static", "disable_compile": not compiled}
    if compiled and run.device.type == "cpu":
        options["compile_config"] = CompileConfig(backend="eager", mode=None)
        options["compile_config"]._compile_all_devices = True
    reset_peak(run.device)
    if not adapter:
        model.disable_adapter_layers()
    try:
        generation = Generation(model, processor, inputs, options)
        prefill = Generation(model, processor, inputs, options | {"disable_compile": True, "compile_config": None})
        features = features_of(processor, samples.waves, run.device)
        encoding = median_seconds(run, lambda: encoded(model, features))
        spoken = make_samples(processor, "recogniser", rows, scale.seconds, listed, tokens)
        second = Generation(model, processor, prompt_of(model, processor, spoken, run.device)).seconds(run, 1)
        first = timed(run.device, lambda: generation.generate(tokens))
        prefill_seconds = prefill.seconds(run, 1)
        whole = generation.seconds(run, tokens)
        same = Generation(model, processor, inputs).generate(tokens)
        agreed = float((generation.generate(tokens) == same)[:, -tokens:].float().mean())
    finally:
        model.enable_adapter_layers()
    each = per_token(prefill_seconds, whole, tokens)
    both = encoding + prefill_seconds + second + (scale.selected + tokens - 2) * each / 1000
    return {
        "rows": rows,
        "prompt_tokens": inputs["input_ids"].shape[1],
        "first_answer_seconds": first,
        "prefill_seconds": prefill_seconds,
        "recogniser_prefill_seconds": second,
        "ms_per_token": each,
        "utterances_per_second": rows / both,  # both stages, with this time per token
        "same_tokens_as_eager": agreed,
        "peak_gb": peak_gb(run.device),
    }
