"""Estimate of a training's needs: weights, memory per GPU by ZeRO stage, tokens per batch, steps, time.

Memory is computed by `sap2.training.memory`. Time is a range: floating-point operations divided by the usual throughput
of GPUs. Nothing is downloaded and no weights are loaded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sap2.errors import ParamsError
from sap2.params import ModelSection, Params, TrainSection
from sap2.training.memory import ZERO, Load, Memory, ZeroStage, activations, attention_width, memory
from sap2.training.shapes import Shape, Sizes, base_shape, count

if TYPE_CHECKING:  # benchmarks/gpu runs without what a manifest needs
    from sap2.manifest import Utterance
    from sap2.training.lists import Stage

__all__ = ["StagePlan", "TrainingPlan", "assumed_load", "operations", "plan_training"]

GB = 1e9

# Assumptions without a manifest and a tokenizer to measure with.
MEAN_SECONDS, LONGEST_SECONDS = 10.0, 30.0  # of an utterance
PROMPT_TOKENS = 45  # chat template and instruction
KEYWORD_TOKENS = 3.5  # a rare word and its separator
SPOKEN_KEYWORDS = 2
WORDS_PER_SECOND, WORD_TOKENS = 2.5, 1.3
SAMPLE = 200  # utterances measured, if there is a manifest

PLANNING_MS = 0.55  # of a core, to draw and measure an utterance with 60 keywords before the training (measured)
GPU_BANDWIDTH = 2.0e12  # bytes per second of an A100's memory (its data sheet), at which decoding reads weights
BANDWIDTH_REACHED = (0.2, 0.6)  # usual share of it in decoding
GPU_TFLOPS = 312.0  # peak of an A100, bf16 without sparsity (its data sheet)
UTILISATION = (0.2, 0.45)  # usual share of the peak in fine-tuning of this size


@dataclass(frozen=True)
class StagePlan:
    """The training of a stage.

    Args:
        mean, longest: The utterance of mean and of greatest length.
        measured: Source of `mean` and `longest`, as text.
        memory: For the batch of the longest utterances, by ZeRO stage.
        checkpointed: The same with gradient checkpointing.
        hours: Minimum and maximum.
        planning: Hours of planning the batches, with a core per process; a resumed training skips it.
    """

    name: str
    section: TrainSection
    utterances: int
    mean: Load
    longest: Load
    measured: str
    memory: dict[ZeroStage, Memory]
    checkpointed: dict[ZeroStage, Memory]
    steps: int
    hours: tuple[float, float]
    planning: float

    @property
    def rows(self) -> float:
        """Utterances of mean length per forward pass on a GPU."""
        return utterances_a_pass(self.section, self.mean)

    @property
    def batch(self) -> float:
        """Utterances per optimizer step, over all processes."""
        return self.rows * self.section.grad_accum * self.section.nproc


@dataclass(frozen=True)
class TrainingPlan:
    """The trainings on a base.

    Args:
        pruning: Minimum and maximum hours of pruning the train split between the two; None = it is not pruned.
    """

    base: str
    shape: Shape
    sizes: Sizes
    stages: list[StagePlan]
    pruning: tuple[float, float] | None = None
    assumptions: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"base: {self.base} ({self.shape.source})",
            f"parameters: {self.sizes.frozen:,} frozen, {self.sizes.trainable:,} trainable",
        ]
        for stage in self.stages:
            lines += ["", *_describe(stage)]
            if stage.name == "pruner" and self.pruning is not None:
                fewest, most = map(_hours, self.pruning)
                where = f"{stage.section.nproc} GPUs, {stage.utterances:,} utterances"
                lines += ["", f"pruning of the train split, for recogniser.lists: {where}, {fewest} to {most}"]
        return "\n".join([*lines, "", "assumptions:", *(f"  - {assumption}" for assumption in self.assumptions)])


def plan_training(
    params: Params,
    gpus: int | None = None,
    manifest: Path | None = None,
    tflops: float = GPU_TFLOPS,
    utterances: int | None = None,
) -> TrainingPlan:
    """Plan both stages of a profile, or the single model of the methods PC and JPI.

    Args:
        gpus: Number of GPUs, with a process each; None = each section's `nproc`.
        manifest: Training manifest to count and measure; utterances are assumed where there is none.
        tflops: Peak of a GPU in 10¹² floating-point operations per second.
        utterances: Training utterances; None = those of the manifest, else `prepare.train_utterances`.
    Raises: ModelError: the base's shape is not known. ParamsError: nothing to train, or a figure below its bound.
    """
    for name, value in (("--gpus", gpus), ("--tflops", tflops), ("--utterances", utterances)):
        if value is not None and not 0 < value < math.inf:
            raise ParamsError(f"{name} is {value}, must be above 0 and finite")
    shape = base_shape(params.base.path, params.model.projection_rank)
    rows = _read(manifest)
    total = utterances or len(rows) or params.prepare.train_utterances
    stages: list[StagePlan] = []
    counts: list[Sizes] = []
    names: tuple[Stage, ...] = ("pruner", "recogniser") if params.model.method == "tpi" else ("recogniser",)
    for name in names:
        section = getattr(params, name)
        section = section.model_copy(update={"nproc": gpus}) if gpus else section
        counts.append(count(shape, section, params.lora))
        stages.append(_stage(name, section, params, shape, counts[-1], rows, manifest, total, tflops))
    counted = "given" if utterances else f"counted in {manifest}" if rows else "prepare.train_utterances"
    pruning = None
    if params.model.method == "tpi" and params.pruning.train:
        pruning = _pruning_hours(params, stages[0], shape, counts[0], tflops)
    return TrainingPlan(params.base.path, shape, counts[0], stages, pruning, _assumptions(counted, tflops))


def assumed_load(
    name: str, seconds: float, keywords: float, model: ModelSection, frames_per_second: float = 25.0
) -> Load:
    """Return an utterance's load by the assumptions above.

    Args:
        name: The stage; stage 2's list has the spoken keywords, its answer is the transcript.
        keywords: Keywords of a full list, as stage 1, PC and JPI read it.
        frames_per_second: Frames that the text model reads per second; see `sap2.model.Family`.
    """
    listed = SPOKEN_KEYWORDS if name == "recogniser" and model.method == "tpi" else keywords
    words = 0 if name == "pruner" else WORDS_PER_SECOND * seconds * WORD_TOKENS
    selected = SPOKEN_KEYWORDS * KEYWORD_TOKENS if name == "pruner" or model.method == "jpi" else 0
    answer = selected + words + 1
    # The last window of a keyword is half empty on average.
    windows = listed * (KEYWORD_TOKENS + (model.window - 1) / 2) / model.window
    frames = seconds * frames_per_second
    return Load(frames + PROMPT_TOKENS + windows + answer, frames, listed * KEYWORD_TOKENS, answer)


def utterances_a_pass(section: TrainSection, load: Load) -> float:
    """Return the number of equal utterances per batch: `batch_size`, or as many as `batch_tokens` allows."""
    if section.batch_tokens is None:
        return section.batch_size
    return min(section.batch_size, max(1.0, section.batch_tokens / load.tokens))


def operations(shape: Shape, sizes: Sizes, load: Load, section: TrainSection) -> float:
    """Return the floating-point operations of an utterance in a training step.

    A frozen layer needs a forward pass and the gradient of its input: twice the forward pass, not three times; with
    gradient checkpointing another forward pass. The encoder needs its forward pass only, and nothing if its output is
    cached.
    """
    text, audio, family = shape.config.text_config, shape.config.audio_config, shape.family
    encoded = family.encoder_seconds * family.frames_per_second if family.encoder_seconds else load.frames
    frames = family.encoder_positions * encoded
    encoder = 2 * sizes.encoder_layers * frames + 4 * audio.num_hidden_layers * frames**2 * audio.hidden_size
    decoder = 2 * sizes.decoder_layers * load.tokens
    attention = 2 * text.num_hidden_layers * load.tokens**2 * attention_width(text)  # causal: half of the square
    head = 2 * load.answer * text.vocab_size * text.hidden_size
    again = 1 if section.gradient_checkpointing else 0
    passes = (2 + again) * decoder + (3 + again) * attention + 2 * head
    return passes + (0 if section.cache_encoder else encoder)


def _stage(
    name: "Stage",
    section: TrainSection,
    params: Params,
    shape: Shape,
    sizes: Sizes,
    rows: list["Utterance"],
    manifest: Path | None,
    total: int,
    tflops: float,
) -> StagePlan:
    if shape.folder is not None and manifest is not None and rows:
        mean, longest, measured = _measure(name, section, params, shape.folder, rows, manifest)
    else:
        durations = [row.duration for row in rows] or [MEAN_SECONDS, LONGEST_SECONDS]
        seconds = sum(durations) / len(durations) if rows else MEAN_SECONDS
        seconds *= sum(1 / speed for speed in section.speed) / len(section.speed)
        slowest = min(max(LONGEST_SECONDS, *durations), max(durations) / min(section.speed))
        sizes_of_lists = section.list_sizes
        rate = shape.family.frames_per_second
        mean = assumed_load(name, seconds, sum(sizes_of_lists) / 2, params.model, rate)
        longest = assumed_load(name, slowest, sizes_of_lists[1], params.model, rate)
        measured = f"durations of {manifest}, tokens assumed" if rows else "assumed"
    longest = replace(longest, tokens=min(longest.tokens, section.max_length))
    lora = params.lora.model_copy(update={"targets": ["projector"]}) if section.freeze_llm else params.lora
    most = utterances_a_pass(section, longest)
    used = [
        activations(shape.config, longest, most, lora, params.model, section.bf16, checkpointing)
        for checkpointing in (False, True)
    ]
    tables = [{stage: memory(sizes, section, stage, size) for stage in ZERO} for size in used]
    batch = utterances_a_pass(section, mean) * section.grad_accum * section.nproc
    entries = max(1, round(section.epochs * total))
    steps = section.max_steps or math.ceil(entries / batch)
    work = operations(shape, sizes, mean, section) * (steps * batch if section.max_steps else entries)
    hours = [work / (tflops * 1e12 * share * section.nproc) / 3600 for share in reversed(UTILISATION)]
    planned = steps * batch if section.max_steps else entries
    planning = planned * PLANNING_MS / 1000 / 3600 / section.nproc
    return StagePlan(
        name, section, total, mean, longest, measured, tables[0], tables[1], steps, (hours[0], hours[1]), planning
    )


def _pruning_hours(params: Params, stage: StagePlan, shape: Shape, sizes: Sizes, tflops: float) -> tuple[float, float]:
    """Return the minimum and maximum hours of stage 1 on the train split, with lists as in training.

    Prompts need operations; answers need the time to read all weights once per token and batch. Tags need no answer,
    but a first pass decodes a transcript as well.
    """
    load, settings = stage.mean, params.pruning
    cached, full = (
        stage.section.model_copy(update={"gradient_checkpointing": False, "cache_encoder": kept})
        for kept in (True, False)
    )
    decoder = operations(shape, sizes, load, cached) / 2  # a training step without its backward pass
    encoder = operations(shape, sizes, load, full) - 2 * decoder
    prompts, tokens = math.ceil(load.context / KEYWORD_TOKENS / settings.max_list), load.answer
    if params.model.tagging > 0:
        transcript = load.frames / shape.family.frames_per_second * WORDS_PER_SECOND * WORD_TOKENS
        tokens = transcript if settings.first_pass is not None else 0.0
        prompts += 0 if settings.first_pass is None else 1
    work = stage.utterances * (encoder + max(1, prompts) * decoder)
    bytes_read = stage.utterances * tokens / settings.batch_size * (2 if stage.section.bf16 else 4) * sizes.frozen
    fewest, most = (
        (work / (tflops * 1e12 * share) + bytes_read / (GPU_BANDWIDTH * reached)) / stage.section.nproc / 3600
        for share, reached in zip(reversed(UTILISATION), reversed(BANDWIDTH_REACHED), strict=True)
    )
    return fewest, most


def _measure(
    name: "Stage", section: TrainSection, params: Params, base: Path, rows: list["Utterance"], manifest: Path
) -> tuple[Load, Load, str]:
    """Return the mean and the maximum load of a sample, tokenised as in training."""
    from sap2.model import SAMPLE_RATE, load_processor
    from sap2.training.augment import Augmenter
    from sap2.training.collator import Collator, Examples
    from sap2.training.lists import ListDrawer

    processor = load_processor(base, window=params.model.window, windows=params.model.windows)
    collator = Collator(processor, manifest)
    options = section.model_dump(include=set(ListDrawer.SETTINGS)) | {"method": params.model.method}
    if any(row.predicted is None for row in rows) and options.get("lists") == "predicted":
        options["lists"] = "oracle"  # not pruned yet: of about the same length
    augmenter = Augmenter(section, processor.feature_extractor.n_samples / SAMPLE_RATE)
    examples = Examples(rows, ListDrawer(name, rows, **options), augmenter=augmenter)
    loads = []
    for index in range(0, len(rows), max(1, len(rows) // SAMPLE)):
        example = examples[index]
        frames = processor.frames(int(example.utterance.duration / example.speed * SAMPLE_RATE))
        context = len(processor.tokenise_context(example.draw.keywords)[0])
        answer = len(processor.tokenizer.encode(example.draw.target, add_special_tokens=False)) + 1
        loads.append(Load(collator.length(example), frames, context, answer))
    mean = Load(*(sum(values) / len(loads) for values in _columns(loads)))
    longest = Load(*(max(values) for values in _columns(loads)))
    return mean, longest, f"measured on {len(loads)} utterances of {manifest}"


def _columns(loads: Sequence[Load]) -> list[list[float]]:
    return [[getattr(load, name) for load in loads] for name in Load.__dataclass_fields__]


def _read(manifest: Path | None) -> list["Utterance"]:
    if manifest is None or not manifest.is_file():
        return []
    from sap2.manifest import read_manifest

    return read_manifest(manifest)


def _describe(stage: StagePlan) -> list[str]:
    section, mean = stage.section, stage.mean
    budget = f" of at most {section.batch_tokens:,} tokens" if section.batch_tokens else ""
    lines = [
        f"{stage.name}: {section.nproc} GPUs × {section.batch_size} utterances{budget} × {section.grad_accum}, "
        f"{section.deepspeed}, {'bf16' if section.bf16 else 'float32'}, "
        f"{f'base in {section.quantization}, ' if section.quantization else ''}"
        f"{'with' if section.gradient_checkpointing else 'without'} gradient checkpointing",
        f"  tokens per utterance: {mean.tokens:,.0f} on average, {mean.frames:,.0f} of them speech and "
        f"{mean.answer:,.0f} the answer; {stage.longest.tokens:,.0f} at most ({stage.measured})",
        f"  tokens per step: {stage.batch * mean.tokens:,.0f}, of {stage.batch:,.0f} utterances",
        f"  steps: {stage.steps:,} for {stage.utterances:,} utterances, {section.epochs:g} epochs",
        f"  time: {_hours(stage.hours[0])} to {_hours(stage.hours[1])}",
        f"  planning of the batches before it: {_hours(stage.planning)}, with a core per process; none when resumed",
        f"  {'GB per GPU':15}  weights  gradients  optimizer  activations    total | with checkpointing:  activations"
        "    total | in the host's memory",
    ]
    for name, plain in stage.memory.items():
        less, mark = stage.checkpointed[name], "*" if name == section.deepspeed else " "
        figures = (plain.weights, plain.gradients, plain.optimizer, plain.activations, plain.total)
        row = "".join(f"{size / GB:{width}.2f}" for size, width in zip(figures, (9, 11, 11, 13, 9), strict=True))
        host = f"{plain.host / GB:21.2f}" if plain.host else ""
        lines.append(
            f"  {mark} {name:13}{row} |{less.activations / GB:32.2f}{less.total / GB:9.2f} |{host}".rstrip(" |")
        )
    return lines


def _hours(hours: float) -> str:
    """
    >>> _hours(2.34), _hours(0.5), _hours(0.005), _hours(1e-9)
    ('2.3 h', '30 min', '18 s', 'under 1 s')
    """
    seconds = hours * 3600
    if seconds < 1:
        return "under 1 s"
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min" if hours < 1 else f"{hours:.1f} h"


def _assumptions(counted: str, tflops: float) -> list[str]:
    fewest, most = UTILISATION
    return [
        f"utterances: {counted}",
        f"without a measured manifest: {MEAN_SECONDS:g} s of speech on average and {LONGEST_SECONDS:g} s at most, "
        f"{KEYWORD_TOKENS:g} tokens per keyword, {PROMPT_TOKENS} per prompt, {WORDS_PER_SECOND * WORD_TOKENS:g} per "
        "second of transcript",
        "memory: the batch of the longest utterances; CUDA's context, communication buffers and fragmentation come on "
        "top (some GB); * marks the section's own ZeRO stage",
        f"time: {tflops:g} TFLOP/s per GPU at its peak, {fewest:.0%} to {most:.0%} of it reached; reading audio, "
        "evaluation and checkpoints come on top; not measured on such GPUs",
        f"pruning: lists as long as stage 1's in training, {GPU_BANDWIDTH / 1e12:g} TB/s of memory per GPU, "
        f"{BANDWIDTH_REACHED[0]:.0%} to {BANDWIDTH_REACHED[1]:.0%} of it reached in decoding",
    ]
