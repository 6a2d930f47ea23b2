"""Training of the base's decoder on the states of its frozen encoder, with a falling learning rate.

The pretraining moves encoder and decoder together; its last updates leave both unsettled, and rounding the encoder to
8 bits shifts its states. Here projector and decoder learn to transcribe, to read lists and to select on exactly the
states that they will see, without the losses that taught them to hear.
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from sap2.base.batches import SETTLING, WINDOWS, Batches
from sap2.base.corpus import SEED, read_items
from sap2.base.lexicon import Lexicon
from sap2.base.losses import SETTLING_WEIGHTS, Heads
from sap2.base.pretraining import batch_losses, phoneme_numbers, weighted
from sap2.base.probe import Probe
from sap2.base.running import Training, rate, run, update
from sap2.base.sampler import Sampler
from sap2.base.states import States
from sap2.data.real_names import REAL_NAMES
from sap2.files import atomic_file
from sap2.model import load_model, load_processor
from sap2.params import Section

__all__ = ["HEADS_FILE", "SettlingRecipe", "save_heads", "settle"]

HEADS_FILE = "heads.safetensors"  # the pretraining's auxiliary heads, beside the base that is settled
WARMUP = 60  # steps
PROBES = (0.0, 0.5)


class SettlingRecipe(Section):
    """Settings of the training."""

    steps: int = Field(1000, ge=1)
    seconds: float = Field(180.0, ge=10)  # speech per batch, at most
    rows: int = Field(64, ge=2)  # recordings per batch, at most
    learning_rate: float = Field(4e-4, gt=0)  # peak


def save_heads(heads: dict[str, Tensor], base: Path) -> None:
    """Write the weights of auxiliary heads beside a base."""
    with atomic_file(base / HEADS_FILE) as partial:
        save_file({name: weight.half().cpu().contiguous() for name, weight in heads.items()}, partial)


def settle(
    work: Path, base: Path, recipe: SettlingRecipe, device: str = "cpu", workers: int = 2, save_minutes: float = 5.0
) -> None:
    """Train projector and decoder of `base` on the states in `work/states`, or the steps that are left.

    Writes `settled.pt` and `settled.jsonl` in `work`.
    """
    lexicon, items = Lexicon.load(work / "lexicon.tsv"), read_items(work / "corpus")
    processors = {window: load_processor(base, window=window) for window in WINDOWS}
    sampler, phonemes = Sampler(lexicon, REAL_NAMES), phoneme_numbers(lexicon)
    model: Any = load_model(base, weighting="mean", dtype=torch.float32)
    model = model.to(device).train()
    model.model.audio_tower.requires_grad_(False)
    heads = Heads(model.config.text_config.hidden_size, len(phonemes) + 1).to(device)
    heads.load_state_dict({name: weight.float() for name, weight in load_file(base / HEADS_FILE).items()})
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    group = {"params": [*trained, *heads.parameters()], "peak": recipe.learning_rate}
    optimizer = torch.optim.AdamW([group], lr=recipe.learning_rate, weight_decay=0.02, betas=(0.9, 0.98))
    parts = {"model": model, "heads": heads, "optimizer": optimizer}
    training = Training.started(parts, work / "settled.pt", device)
    states = States(work / "states", items, processors[2], model.config.audio_config.d_model)
    texts = (work / "texts.txt").read_text(encoding="utf-8").splitlines()
    batches = Batches(items, texts, sampler, processors, phonemes, recipe.steps, recipe.seconds, recipe.rows, SETTLING)

    def take_step(batch: dict) -> dict[str, Tensor]:
        torch.manual_seed(SEED + training.step)
        speech = None
        if len(batch["numbers"]):
            padded, mask, frames = states.batch(batch["numbers"].tolist(), seed=training.step)
            speech = padded.to(device), mask.to(device), frames
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            losses = batch_losses(model, heads, batch, speech, device, hearing=False)
        update(training, weighted(losses, SETTLING_WEIGHTS), rate(training.step, recipe.steps, WARMUP))
        return {name: value.detach().float() for name, value in losses.items()}

    probe = Probe(items, sampler)
    run(
        training, batches, take_step, work / "settled.jsonl", workers=workers, save_minutes=save_minutes, device=device,
        probe=lambda: probe(model, processors[2], lambda numbers: [states[number] for number in numbers]),
        probes=PROBES,
    )  # fmt: skip
