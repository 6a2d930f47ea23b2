"""Synthetic inputs: recordings of noise, and lists and answers of made-up words, of given lengths."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sap2.constants import SAMPLE_RATE
from sap2.prompts import pruning_prompt, pruning_target, recognition_prompt
from sap2.training.memory import Load

ONSETS, NUCLEI = "b d f g h k l m n p r s t v z br dr kl st tr".split(), "a e i o u ai ou".split()
SPOKEN = 2  # keywords that stage 1 selects and stage 2 reads, as `sap2 plan` assumes
STAGES = ("pruner", "recogniser")


@dataclass
class Samples:
    """A batch before it is tokenised: one prompt, list, recording and target per row."""

    prompts: list[str]
    keywords: list[list[str]]
    waves: list[np.ndarray]
    targets: list[str]


def make_samples(processor, stage: str, rows: int, seconds: float, listed: int, answer: int) -> Samples:
    """Make a batch of prompts, keyword lists, recordings and targets for a stage.

    Args:
        listed: Number of keywords in stage 1's lists; stage 2 gets two.
        answer: Approximate number of tokens of stage 2's answer.
    """
    rng = random.Random(0)
    lists = [words(rng, listed if stage == "pruner" else SPOKEN) for _ in range(rows)]
    if stage == "pruner":
        targets = [pruning_target(keywords[:SPOKEN]) for keywords in lists]
    else:
        targets = [transcript(processor, keywords, answer, rng) for keywords in lists]
    prompt = pruning_prompt() if stage == "pruner" else recognition_prompt(True)
    return Samples([prompt] * rows, lists, noise(rows, seconds), targets)


def words(rng: random.Random, count: int) -> list[str]:
    """Return distinct made-up names."""
    made: dict[str, None] = {}
    while len(made) < count:
        made["".join(rng.choice(ONSETS) + rng.choice(NUCLEI) for _ in range(rng.randint(2, 3)))] = None
    return list(made)


def transcript(processor, keywords: list[str], tokens: int, rng: random.Random) -> str:
    text = " ".join(keywords)
    while len(processor.target(text)) < tokens:
        text += " " + words(rng, 1)[0]
    return text


def noise(rows: int, seconds: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32) for _ in range(rows)]


def batch_of(processor, samples: Samples, device: torch.device) -> dict[str, Tensor]:
    """Return a training batch on the device."""
    batch = processor(samples.prompts, samples.keywords, samples.waves, targets=samples.targets)
    return {name: tensor.to(device) for name, tensor in batch.items()}


def load_of(batch: dict[str, Tensor], audio_token: int) -> Load:
    """Return the mean load of an utterance in a batch."""
    rows = len(batch["input_ids"])
    return Load(
        tokens=float(batch["attention_mask"].sum()) / rows,
        frames=float((batch["input_ids"] == audio_token).sum()) / rows,
        context=float((batch["context_windows"] >= 0).sum()) / rows,
        answer=float((batch["labels"] != -100).sum()) / rows,
    )


def features_of(processor, waves: list[np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """Return the encoder's input on the device."""
    return {name: tensor.to(device) for name, tensor in processor.features(waves).items()}


@torch.no_grad()
def encoded(model, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the encoder states of recordings, and their mask."""
    return model.encode_speech(**features)
