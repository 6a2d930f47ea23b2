"""The training loop of the embedded base: one run of a fixed number of steps, resumable at any time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from sap2.base.batches import NO_PHONEME, WINDOWS, Batches
from sap2.base.corpus import Item, read_items
from sap2.base.lexicon import Lexicon
from sap2.base.losses import PRETRAINING_WEIGHTS, Heads, losses
from sap2.base.probe import Probe
from sap2.base.running import Training, rate, run, update
from sap2.base.sampler import Sampler, phonemes_in
from sap2.base.sound import Sounds
from sap2.data.names import CODAS, ENDINGS, NUCLEI, ONSETS
from sap2.data.real_names import REAL_NAMES
from sap2.model import load_model, load_processor
from sap2.model.modeling import frame_count
from sap2.params import Section

__all__ = ["Recipe", "batch_losses", "phoneme_numbers", "pretrain", "weighted"]

LEARNING_RATE = 1.5e-3  # peak
ENCODER_RATE = 0.05  # learning rate of the encoder's trained layers, as a share of the peak
WARMUP = 300  # steps
WRONG_INPUTS = 0.08  # share of an answer's input tokens that are replaced: the next token must be heard, not guessed
ATTENTION_DROPOUT = 0.1
ENCODED_TOGETHER = 32
PROBES = (0.45, 0.75)  # progress at which the model is probed, besides the end


class Recipe(Section):
    """Settings of the run, apart from its data."""

    encoder: str = "base"  # "base" or "tiny.en" of Whisper, or a folder with a Qwen2-Audio model
    tuned_layers: int = Field(2, ge=0)  # number of the encoder's last layers that are trained
    steps: int = Field(2700, ge=1)
    seconds: float = Field(960.0, ge=10)  # speech per batch, at most
    rows: int = Field(256, ge=2)  # recordings per batch, at most
    common_words: int = Field(5000, ge=0)  # most frequent words, which no list holds (as Le et al., 2021)
    lectures: int = Field(16_000, ge=100)  # sentences of the embedded corpus that are synthesised
    read_aloud: int = Field(40_000, ge=100)  # excerpts of text that are synthesised
    seed: int = Field(0, ge=0)


def pretrain(
    work: Path,
    recipe: Recipe,
    device: str = "cpu",
    workers: int = 2,
    save_minutes: float = 5.0,
    on_log: Callable[[nn.Module], None] | None = None,
) -> None:
    """Train the model in `work/skeleton` on the corpus in `work` for `recipe.steps` steps, or the steps that are left.

    Batch, augmentation and dropout of a step depend on the recipe and the step's number, so an interrupted run
    continues with the batches it would have had. Writes `checkpoint.pt` and `log.jsonl` in `work`.

    Args:
        device: "cuda" or "cpu".
        workers: Processes that prepare batches; 0 = this process.
        save_minutes: Time between two checkpoints.
        on_log: Called with the model every 100 steps.
    """
    skeleton, checkpoint = work / "skeleton", work / "checkpoint.pt"
    lexicon, items = Lexicon.load(work / "lexicon.tsv"), read_items(work / "corpus")
    processors = {window: load_processor(skeleton, window=window) for window in WINDOWS}
    sampler, phonemes = Sampler(lexicon, REAL_NAMES), phoneme_numbers(lexicon)
    training = _start(skeleton, recipe, len(phonemes) + 1, device, checkpoint)
    model = training.parts["model"]
    sounds = Sounds(work / "corpus", items, processors[2].feature_extractor, device)
    probe = Probe(items, sampler)
    texts = (work / "texts.txt").read_text(encoding="utf-8").splitlines()
    batches = Batches(items, texts, sampler, processors, phonemes, recipe.steps, recipe.seconds, recipe.rows)
    run(
        training, batches, lambda batch: _step(training, sounds, batch, recipe, device), work / "log.jsonl",
        workers=workers, save_minutes=save_minutes, device=device, on_log=on_log,
        probe=lambda: probe(model, processors[2], lambda numbers: _encoded(model, sounds, items, numbers)),
        probes=PROBES,
    )  # fmt: skip


def _encoded(model, sounds: Sounds, items: Sequence[Item], numbers: Sequence[int]) -> list[Tensor]:
    states = []
    for start in range(0, len(numbers), ENCODED_TOGETHER):
        rows = torch.tensor(numbers[start : start + ENCODED_TOGETHER])
        mel, mask = sounds.features(rows, torch.tensor([items[number].samples for number in rows]))
        encoded, valid = model.encode_speech(mel, mask)
        states += [frames[kept].float() for frames, kept in zip(encoded, valid, strict=True)]
    return states


def phoneme_numbers(lexicon: Lexicon) -> dict[str, int]:
    """The number of each phoneme; 0 is CTC's blank."""
    known = {mark for sound in lexicon.sounds.values() for mark in sound} | set(_lecture_phonemes())
    return {mark: number for number, mark in enumerate([NO_PHONEME, *sorted(known - {NO_PHONEME})], start=1)}


def _lecture_phonemes() -> Iterator[str]:
    for units in (ONSETS, NUCLEI, CODAS, ENDINGS):
        for phonemes, _ in units:
            yield from phonemes_in(phonemes)


def _start(skeleton: Path, recipe: Recipe, phonemes: int, device: str, checkpoint: Path) -> Training:
    torch.manual_seed(recipe.seed)
    model: Any = load_model(skeleton, weighting="mean", dtype=torch.float32)
    model = model.to(device).train()
    for layer in model.model.language_model.layers:
        layer.self_attn.attention_dropout = ATTENTION_DROPOUT
    heads = Heads(model.config.text_config.hidden_size, phonemes).to(device)
    tower = model.model.audio_tower.requires_grad_(False)
    tuned: list[nn.Parameter] = []
    if recipe.tuned_layers:
        layers = list(tower.layers)[-recipe.tuned_layers :]
        tuned = [weight for module in (*layers, tower.layer_norm) for weight in module.parameters()]
    for weight in tuned:
        weight.requires_grad_(True)
    trained = [weight for name, weight in model.named_parameters() if "audio_tower" not in name]
    groups = [{"params": [*trained, *heads.parameters()], "peak": LEARNING_RATE}]
    groups += [{"params": tuned, "peak": LEARNING_RATE * ENCODER_RATE}] if tuned else []
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=0.02, betas=(0.9, 0.98), fused=device != "cpu")
    return Training.started({"model": model, "heads": heads, "optimizer": optimizer}, checkpoint, device)


def _step(training: Training, sounds: Sounds, batch: dict, recipe: Recipe, device: str) -> dict[str, Tensor]:
    """Train on one batch; returns its losses."""
    torch.manual_seed(recipe.seed + training.step)
    parts = _losses(training, sounds, batch, device)
    total = weighted(parts, PRETRAINING_WEIGHTS)
    update(training, total, rate(training.step, recipe.steps, WARMUP))
    return {name: value.detach().float() for name, value in parts.items()}


def _losses(training: Training, sounds: Sounds, batch: dict, device: str) -> dict[str, Tensor]:
    model, speech = training.parts["model"], None
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device != "cpu"):
        if len(batch["numbers"]):
            mel, mask = sounds.features(batch["numbers"], batch["lengths"], seed=training.step)
            with torch.set_grad_enabled(any(weight.requires_grad for weight in model.model.audio_tower.parameters())):
                speech = *model.encode_speech(mel, mask), frame_count(mask.sum(-1))
        return batch_losses(model, training.parts["heads"], batch, speech, device)


def weighted(parts: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The weighted sum of the losses that a batch has."""
    return torch.stack([weight * parts[name] for name, weight in weights.items() if name in parts]).sum()


def batch_losses(
    model, heads: Heads, batch: dict, speech: tuple[Tensor, Tensor, Tensor] | None, device: str, hearing: bool = True
) -> dict[str, Tensor]:
    """The losses of a batch of `Batches`.

    Args:
        speech: Encoder states `(batch, frames, encoder_hidden)`, their mask, and the frames of each recording; None =
            a batch without speech.
        hearing: Whether to compute the losses of CTC.
    """
    model.config.window = batch["window"]
    inputs = {name: value.to(device, non_blocking=True) for name, value in batch["inputs"].items()}
    frames = None
    if speech is not None:
        inputs["speech_states"], inputs["speech_mask"], frames = speech
    if "labels" in inputs:
        inputs["input_ids"] = _with_wrong_inputs(inputs["input_ids"], inputs["labels"])
    return losses(model, heads, inputs, batch["labels"].to(device), frames, hearing)


def _with_wrong_inputs(ids: Tensor, labels: Tensor) -> Tensor:
    """Replace a share of the answers' input tokens by other tokens of the batch's answers."""
    answered = labels != -100
    chosen = answered & (torch.rand(ids.shape, device=ids.device) < WRONG_INPUTS)
    others = ids[answered]
    return torch.where(chosen, others[torch.randint(len(others), ids.shape, device=ids.device)], ids)
