"""Utterances, lists and answers to measure with: noise and made-up words of given lengths."""

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
    """What a stage reads and answers.

    Args:
        listed: Keywords of stage 1's lists; stage 2 reads two.
        answer: Tokens of stage 2's answer, roughly.
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
    """Made-up names, each once."""
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
    """A training batch on the device."""
    batch = processor(samples.prompts, samples.keywords, samples.waves, targets=samples.targets)
    return {name: tensor.to(device) for name, tensor in batch.items()}


def load_of(batch: dict[str, Tensor], audio_token: int) -> Load:
    """What an utterance of the batch puts into the model, on average."""
    rows = len(batch["input_ids"])
    return Load(
        tokens=float(batch["attention_mask"].sum()) / rows,
        frames=float((batch["input_ids"] == audio_token).sum()) / rows,
        context=float((batch["context_windows"] >= 0).sum()) / rows,
        answer=float((batch["labels"] != -100).sum()) / rows,
    )


def features_of(processor, waves: list[np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """The encoder's input, on the device."""
    return {name: tensor.to(device) for name, tensor in processor.features(waves).items()}


@torch.no_grad()
def encoded(model, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Encoder states of recordings, and their mask."""
    return model.encode_speech(**features)
