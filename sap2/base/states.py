"""Encoder states of the corpus, computed once.

After the pretraining the encoder is rounded to 8 bits and stays as it is. What is trained on top of it then reads its
states from disk, which saves two thirds of the computing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sap2.base.corpus import Item, read_items
from sap2.base.sound import Sounds
from sap2.constants import SAMPLE_RATE
from sap2.files import atomic_file
from sap2.model import load_model, load_processor
from sap2.progress import track

__all__ = ["States", "encode_corpus"]

ROWS, SECONDS = 16, 120.0  # recordings and padded seconds encoded together, at most
MASK_EVERY = 120  # frames of a recording per mask in time
MASKED = 8  # frames of a mask, fewer than this


class States:
    """The states of all recordings, as `encode_corpus` wrote them.

    Args:
        folder: Of the states.
        items: All items of the corpus; `batch` refers to them by number.
        processor: The base's, which knows how many frames a recording has.
        hidden: Dimensions of a state.
    """

    def __init__(self, folder: Path, items: Sequence[Item], processor, hidden: int) -> None:
        self.frames = [processor.frames(item.samples) for item in items]
        files = {
            source: np.memmap(folder / f"{source}.f16", np.float16, "r").reshape(-1, hidden)
            for source in {item.source for item in items}
        }
        starts = dict.fromkeys(files, 0)
        self._spans: list[np.ndarray] = []
        for item, count in zip(items, self.frames, strict=True):
            start = starts[item.source]
            self._spans.append(files[item.source][start : start + count])
            starts[item.source] += count

    def __getitem__(self, number: int) -> Tensor:
        """States of an item, `(frames, encoder_hidden)`."""
        return torch.from_numpy(np.array(self._spans[number])).float()

    def batch(self, numbers: Sequence[int], seed: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """States of items `(batch, frames, encoder_hidden)`, their mask, and frames of each item `(batch,)`.

        Args:
            seed: Of masks in time, which set states to zero; None = no masks.
        """
        states = [self[number] for number in numbers]
        if seed is not None:
            rng = np.random.default_rng((9, seed))
            for rows in states:
                for _ in range(max(1, len(rows) // MASK_EVERY)):
                    width = int(rng.integers(MASKED))
                    start = int(rng.integers(max(1, len(rows) - width)))
                    rows[start : start + width] = 0
        frames = torch.tensor([len(rows) for rows in states])
        padded = pad_sequence(states, batch_first=True)
        return padded, torch.arange(padded.shape[1]) < frames[:, None], frames


@torch.no_grad()
def encode_corpus(work: Path, base: Path, device: str = "cpu") -> Path:
    """Write the states of every source to `work/states`; sources that are there are kept.

    Args:
        base: The base whose encoder is used.
    Returns: The folder.
    """
    folder, items = work / "states", read_items(work / "corpus")
    model: Any = load_model(base, dtype=torch.float32)
    model, processor = model.to(device).eval(), load_processor(base)
    folder.mkdir(exist_ok=True)
    for source in dict.fromkeys(item.source for item in items):
        if not (folder / f"{source}.f16").is_file():
            own = [item for item in items if item.source == source]
            with atomic_file(folder / f"{source}.f16") as partial:
                _encode(
                    model, processor, Sounds(work / "corpus", own, processor.feature_extractor, device), own, partial
                )
    return folder


def _encode(model, processor, sounds: Sounds, items: Sequence[Item], path: Path) -> None:
    frames = [processor.frames(item.samples) for item in items]
    starts = np.cumsum([0, *frames])
    states = np.memmap(path, np.float16, "w+", shape=(int(starts[-1]), model.config.audio_config.d_model))
    for numbers in track(_batches(items), len(_batches(items)), f"encode {items[0].source}"):
        lengths = torch.tensor([items[number].samples for number in numbers])
        mel, mask = sounds.features(torch.tensor(numbers), lengths)
        with torch.autocast(mel.device.type, torch.bfloat16):
            encoded, valid = model.encode_speech(mel, mask)
        for number, rows, kept in zip(numbers, encoded, valid, strict=True):
            states[starts[number] : starts[number + 1]] = rows[kept].half().cpu().numpy()
    states.flush()


def _batches(items: Sequence[Item]) -> list[list[int]]:
    batches: list[list[int]] = []
    for number in sorted(range(len(items)), key=lambda number: -items[number].samples):
        # The first of a batch is its longest.
        full = batches and (
            len(batches[-1]) == ROWS or items[batches[-1][0]].samples * (len(batches[-1]) + 1) > SECONDS * SAMPLE_RATE
        )
        if full or not batches:
            batches.append([])
        batches[-1].append(number)
    return batches
