"""Training of the base's CTC head on the states of its frozen encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import AutoConfig

from sap2.base.corpus import LECTURES, SEED, Item, read_items
from sap2.base.lexicon import Lexicon
from sap2.base.pretraining import phoneme_numbers
from sap2.base.probe import word_error_rate
from sap2.base.running import Training, rate, run, update
from sap2.base.sampler import Sampler
from sap2.base.states import States
from sap2.data.real_names import REAL_NAMES
from sap2.model import load_processor
from sap2.model.ctc import PHONEME_BLANK, CtcHead
from sap2.params import Section

__all__ = ["HearingRecipe", "ctc_head", "train_ctc"]

WARMUP = 150  # steps
PHONEME_WEIGHT = 0.5  # of the loss over phonemes, beside that over tokens
MASKED_CHANNELS = 80  # widest mask of a recording's channels, for every other recording
PROBES = (0.25, 0.5, 0.75)
PROBED = 200  # held-out recordings, at most
PROBED_TOGETHER = 16


class HearingRecipe(Section):
    """Settings of the CTC head's training."""

    epochs: float = Field(8.0, gt=0)
    frames: int = Field(4000, ge=1)  # frames per batch, padding included, at most
    learning_rate: float = Field(1e-3, gt=0)  # peak
    hidden: int = Field(256, ge=8)
    blocks: int = Field(4, ge=1)
    kernel: int = Field(15, ge=1)  # frames; an odd number


def ctc_head(numbers: dict[str, int], base: Path, recipe: HearingRecipe) -> CtcHead:
    """Return the head before its training, for the tokens of `base` and these phonemes: see `phoneme_numbers`."""
    torch.manual_seed(SEED)
    config = AutoConfig.from_pretrained(base)
    return CtcHead(
        config.audio_config.d_model, config.text_config.vocab_size, config.audio_token_index,
        tuple(sorted(numbers, key=numbers.__getitem__)), recipe.hidden, recipe.blocks, recipe.kernel,
    )  # fmt: skip


class _Batches(Dataset):
    """Batches of recordings of similar length; every epoch has others."""

    def __init__(self, frames: Sequence[int], numbers: Sequence[int], recipe: HearingRecipe) -> None:
        self._frames, self._numbers, self._most = frames, numbers, recipe.frames
        self._epoch, self._batches = 0, self._drawn(0)
        self._per_epoch = len(self._batches)
        self._steps = max(1, round(recipe.epochs * self._per_epoch))

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict:
        epoch, index = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._drawn(epoch)
        return {"numbers": self._batches[index % len(self._batches)]}

    def _drawn(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng((SEED, 15, epoch))
        noise = 1 + 0.1 * rng.random(len(self._numbers))
        ordered = np.argsort(np.array([self._frames[number] for number in self._numbers]) * noise)
        batches: list[list[int]] = [[]]
        longest = 0
        for index in ordered:
            longest = max(longest, self._frames[self._numbers[index]])
            if batches[-1] and (len(batches[-1]) + 1) * longest > self._most:
                batches.append([])
                longest = self._frames[self._numbers[index]]
            batches[-1].append(self._numbers[index])
        return [batches[index] for index in rng.permutation(len(batches))]


def train_ctc(
    work: Path, base: Path, recipe: HearingRecipe, device: str = "cpu", workers: int = 0, save_minutes: float = 5.0
) -> CtcHead:
    """Train the head on the states in `work/states`, or resume a training that was interrupted.

    Writes `work/ctc.pt` and `work/ctc.jsonl`, and returns the head.

    Args:
        base: The base, whose tokens the head writes.
    """
    lexicon, items, processor = Lexicon.load(work / "lexicon.tsv"), read_items(work / "corpus"), load_processor(base)
    numbers = phoneme_numbers(lexicon)
    head = ctc_head(numbers, base, recipe).to(device)
    tokenizer, sampler = processor.tokenizer, Sampler(lexicon, REAL_NAMES)
    group = {"params": list(head.parameters()), "peak": recipe.learning_rate}
    optimizer = torch.optim.AdamW([group], lr=recipe.learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    training = Training.started({"model": head, "optimizer": optimizer}, work / "ctc.pt", device)
    states = States(work / "states", items, processor, head.encoder_hidden)
    tokens = [torch.tensor(tokenizer.encode(" " + item.text, add_special_tokens=False)) for item in items]
    phonemes = [torch.tensor([numbers[mark] for mark in sampler.phonemes(item)]) for item in items]
    trained = [number for number, item in enumerate(items) if not item.held_out]
    batches = _Batches(states.frames, trained, recipe)

    def losses(chosen: Sequence[int], scores: tuple[Tensor, Tensor], frames: Tensor) -> dict[str, Tensor]:
        return {
            name: nn.functional.ctc_loss(
                of_units.transpose(0, 1), torch.cat([targets[number] for number in chosen]).to(device), frames,
                torch.tensor([len(targets[number]) for number in chosen]), blank=blank, zero_infinity=True,
            )
            for name, of_units, targets, blank in (
                ("tokens", scores[0], tokens, head.blank), ("phonemes", scores[1], phonemes, PHONEME_BLANK),
            )
        }  # fmt: skip

    def take_step(batch: dict) -> dict[str, Tensor]:
        torch.manual_seed(SEED + training.step)
        padded, mask, frames = states.batch(batch["numbers"], seed=training.step)
        padded = _masked_channels(padded, training.step)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            scores = head(padded.to(device), mask.to(device))
        parts = losses(batch["numbers"], scores, frames)
        update(
            training, parts["tokens"] + PHONEME_WEIGHT * parts["phonemes"], rate(training.step, len(batches), WARMUP)
        )
        return {name: value.detach() for name, value in parts.items()}

    run(
        training, batches, take_step, work / "ctc.jsonl", workers=workers, save_minutes=save_minutes, device=device,
        probe=lambda: _probe(head, states, items, tokenizer, device), probes=PROBES,
    )  # fmt: skip
    return head


@torch.no_grad()
def _probe(head: CtcHead, states: States, items: Sequence[Item], tokenizer, device: str) -> dict[str, float]:
    """Word error rates of the likeliest token of each frame, on held-out recordings."""
    head.eval()
    figures = {}
    for name in ("recordings", "lectures"):
        lectures = name == "lectures"
        held_out = [
            number for number, item in enumerate(items) if item.held_out and (item.source == LECTURES) == lectures
        ]
        own = np.random.default_rng((SEED, 16)).permutation(held_out)[:PROBED].tolist()
        own.sort(key=states.frames.__getitem__)
        texts: list[str] = []
        for start in range(0, len(own), PROBED_TOGETHER):
            padded, mask, frames = states.batch(own[start : start + PROBED_TOGETHER])
            scores, _ = head(padded.to(device), mask.to(device))
            for row, count in zip(scores.argmax(-1).cpu(), frames.tolist(), strict=True):
                ids = [token for token in torch.unique_consecutive(row[:count]).tolist() if token != head.blank]
                texts.append(tokenizer.decode(ids, skip_special_tokens=True).strip())
        if own:
            figures[f"{name}_wer_ctc"] = round(word_error_rate([items[number].text for number in own], texts), 4)
    head.train()
    return figures


def _masked_channels(states: Tensor, seed: int) -> Tensor:
    """Set a band of channels of every other recording to zero."""
    rng = np.random.default_rng((10, seed))
    for row in states:
        if rng.random() < 0.5:
            width = int(rng.integers(min(MASKED_CHANNELS, row.shape[-1])))
            start = int(rng.integers(row.shape[-1] - width))
            row[:, start : start + width] = 0
    return states
