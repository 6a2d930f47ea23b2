"""The training loop of the embedded base: one run of a fixed number of steps, resumable at any time."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sap2.base.batches import NO_PHONEME, WINDOWS, Batches
from sap2.base.corpus import read_items
from sap2.base.lexicon import Lexicon
from sap2.base.losses import WEIGHTS, Heads, losses
from sap2.base.probe import Probe
from sap2.base.sampler import Sampler, phonemes_in
from sap2.base.sound import Sounds
from sap2.data.names import CODAS, ENDINGS, NUCLEI, ONSETS
from sap2.data.real_names import REAL_NAMES
from sap2.files import atomic_file
from sap2.model import load_model, load_processor
from sap2.model.modeling import frame_count
from sap2.params import Section

__all__ = ["Recipe", "phoneme_numbers", "pretrain"]

LEARNING_RATE = 1.5e-3  # peak
ENCODER_RATE = 0.05  # learning rate of the encoder's trained layers, as a share of the peak
WARMUP = 300  # steps
LAST_RATE = 0.01  # share of the peak at which the cosine schedule ends
WRONG_INPUTS = 0.08  # share of an answer's input tokens that are replaced: the next token must be heard, not guessed
ATTENTION_DROPOUT = 0.1
LOG_STEPS = 100
PROBES = (0.45, 0.75)  # progress at which the model is probed, besides the end


class Recipe(Section):
    """Settings of the run, apart from its data."""

    encoder: str = "base"  # "base" or "tiny.en" of Whisper, or a folder with a Qwen2-Audio model
    tuned_layers: int = Field(2, ge=0)  # number of the encoder's last layers that are trained
    steps: int = Field(7000, ge=1)
    seconds: float = Field(960.0, ge=10)  # speech per batch, at most
    rows: int = Field(256, ge=2)  # recordings per batch, at most
    common_words: int = Field(5000, ge=0)  # most frequent words, which no list holds (as Le et al., 2021)
    lectures: int = Field(16_000, ge=100)  # sentences of the embedded corpus that are synthesised
    read_aloud: int = Field(40_000, ge=100)  # excerpts of text that are synthesised
    seed: int = Field(0, ge=0)


@dataclass
class Training:
    """Everything that a checkpoint holds."""

    model: nn.Module
    heads: Heads
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0  # of computing so far

    def save(self, path: Path) -> None:
        parts = {"model": self.model, "heads": self.heads, "optimizer": self.optimizer}
        state = {name: part.state_dict() for name, part in parts.items()}
        with atomic_file(path) as partial:
            torch.save({**state, "step": self.step, "seconds": self.seconds}, partial)

    def load(self, path: Path, device: str) -> None:
        saved = torch.load(path, weights_only=True, map_location=device)
        for name in ("model", "heads", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])
        self.step, self.seconds = saved["step"], saved["seconds"]


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
    skeleton, checkpoint, log = work / "skeleton", work / "checkpoint.pt", work / "log.jsonl"
    lexicon, items = Lexicon.load(work / "lexicon.tsv"), read_items(work / "corpus")
    processors = {window: load_processor(skeleton, window=window) for window in WINDOWS}
    sampler, phonemes = Sampler(lexicon, REAL_NAMES), phoneme_numbers(lexicon)
    training = _start(skeleton, recipe, len(phonemes) + 1, device)
    if checkpoint.is_file():
        training.load(checkpoint, device)
    sounds = Sounds(work / "corpus", items, processors[2].feature_extractor, device)
    probe = Probe(items, sampler, sounds)
    texts = (work / "texts.txt").read_text(encoding="utf-8").splitlines()
    batches = Batches(items, texts, sampler, processors, phonemes, recipe.steps, recipe.seconds, recipe.rows)
    loader = DataLoader(
        batches, batch_size=None, sampler=range(training.step, recipe.steps), num_workers=workers,
        prefetch_factor=8 if workers else None, worker_init_fn=lambda _: torch.set_num_threads(1),
    )  # fmt: skip
    averages: dict[str, Tensor] = {}
    earlier, began = training.seconds, time.monotonic()
    saved_at = began
    for batch in loader:
        parts = _step(training, sounds, batch, recipe, device)
        for name, value in parts.items():
            averages[name] = torch.lerp(averages.get(name, value), value, 0.02)
        training.seconds = earlier + time.monotonic() - began
        last = training.step == recipe.steps
        if not last and training.step % LOG_STEPS:
            continue
        row = {"step": training.step, "seconds": round(training.seconds), "device": _device_name(device)}
        row |= {name: round(value.item(), 4) for name, value in averages.items()}
        if last or any(0 <= training.step - share * recipe.steps < LOG_STEPS for share in PROBES):
            row |= probe(training.model, processors[2])
        if last or time.monotonic() - saved_at > save_minutes * 60:
            training.save(checkpoint)
            saved_at = time.monotonic()
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        if on_log:
            on_log(training.model)


def phoneme_numbers(lexicon: Lexicon) -> dict[str, int]:
    """The number of each phoneme; 0 is CTC's blank."""
    known = {mark for sound in lexicon.sounds.values() for mark in sound} | set(_lecture_phonemes())
    return {mark: number for number, mark in enumerate([NO_PHONEME, *sorted(known - {NO_PHONEME})], start=1)}


def _lecture_phonemes() -> Iterator[str]:
    for units in (ONSETS, NUCLEI, CODAS, ENDINGS):
        for phonemes, _ in units:
            yield from phonemes_in(phonemes)


def _start(skeleton: Path, recipe: Recipe, phonemes: int, device: str) -> Training:
    torch.manual_seed(recipe.seed)
    model = load_model(skeleton, weighting="mean", dtype=torch.float32).to(device).train()
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
    return Training(model, heads, optimizer)


def _step(training: Training, sounds: Sounds, batch: dict, recipe: Recipe, device: str) -> dict[str, Tensor]:
    """Train on one batch; returns its losses."""
    step = training.step
    torch.manual_seed(recipe.seed + step)
    cosine = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    for group in training.optimizer.param_groups:
        group["lr"] = group["peak"] * min(1.0, (step + 1) / WARMUP) * max(LAST_RATE, cosine)
    parts = _losses(training, sounds, batch, device)
    total = sum(weight * parts[name] for name, weight in WEIGHTS.items() if name in parts)
    training.optimizer.zero_grad(set_to_none=True)
    total.backward()
    weights = [weight for group in training.optimizer.param_groups for weight in group["params"]]
    if torch.isfinite(nn.utils.clip_grad_norm_(weights, 1.0)):
        training.optimizer.step()
    training.step += 1
    return {name: value.detach().float() for name, value in parts.items()}


def _losses(training: Training, sounds: Sounds, batch: dict, device: str) -> dict[str, Tensor]:
    model, step = training.model, training.step
    inputs = {name: value.to(device, non_blocking=True) for name, value in batch["inputs"].items()}
    labels, frames = batch["labels"].to(device), None
    model.config.window = batch["window"]
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device != "cpu"):
        if len(batch["numbers"]):
            mel, mask = sounds.features(batch["numbers"], batch["lengths"], seed=step)
            with torch.set_grad_enabled(any(weight.requires_grad for weight in model.model.audio_tower.parameters())):
                states, speech_mask = model.encode_speech(mel, mask)
            frames = frame_count(mask.sum(-1))
            inputs |= {"speech_states": states, "speech_mask": speech_mask}
        if "labels" in inputs:
            inputs["input_ids"] = _with_wrong_inputs(inputs["input_ids"], inputs["labels"])
        return losses(model, training.heads, inputs, labels, frames)


def _with_wrong_inputs(ids: Tensor, labels: Tensor) -> Tensor:
    """Replace a share of the answers' input tokens by other tokens of the batch's answers."""
    answered = labels != -100
    chosen = answered & (torch.rand(ids.shape, device=ids.device) < WRONG_INPUTS)
    others = ids[answered]
    return torch.where(chosen, others[torch.randint(len(others), ids.shape, device=ids.device)], ids)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "a CPU"
