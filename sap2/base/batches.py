"""Batches of the base's training: the model's inputs, and the labels of the auxiliary losses.

The batch of a step depends on the step's number alone, so that a resumed run gets the batches it would have had, with
any number of workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sap2.base.corpus import LECTURES, READ_ALOUD, SEED, Item
from sap2.base.sampler import Example, Sampler
from sap2.data.speech import SAMPLE_RATE

__all__ = [
    "NO_PHONEME",
    "PIECES",
    "PRETRAINING",
    "SETTLING",
    "SLOTS",
    "WINDOWS",
    "Batches",
    "Labels",
    "Mixture",
    "collate",
    "phoneme_slots",
]

RECORDINGS = "recordings"  # all sources that are not synthetic
WINDOWS = {1: 0.2, 2: 0.6, 4: 0.2}  # window: its share of the batches
LIST_SIZE = 100  # keywords of a list, at most
PIECES = 5  # leading tokens of a keyword that are predicted from its last window
SLOTS = 7  # phonemes of a keyword that are predicted: the first four and the last three
NO_PHONEME = "-"  # fills the slots of a shorter keyword


@dataclass(frozen=True)
class Mixture:
    """What a training's batches are made of.

    Args:
        phonics, matching: Progress at which these first phases end: lists without speech, lists without answers.
        sources: Shares of the kinds of recordings among the batches with speech.
        text_only: Share of the batches without speech.
        tasks: Shares of transcription without a list, with a list, and selection from a list.
        speeds: Range of the speed of playback.
        keywords: Keywords of a batch, at most.
    """

    phonics: float
    matching: float
    sources: dict[str, float]
    text_only: float
    tasks: dict[str, float]
    speeds: tuple[float, float]
    keywords: int


PRETRAINING = Mixture(
    0.03, 0.2, {RECORDINGS: 0.55, LECTURES: 0.16, READ_ALOUD: 0.29}, 0.14,
    {"none": 0.32, "list": 0.42, "select": 0.26}, (0.9, 1.1), 6400,
)  # fmt: skip
SETTLING = Mixture(
    0.0, 0.0, {RECORDINGS: 0.82, LECTURES: 0.11, READ_ALOUD: 0.07}, 0.06,
    {"none": 0.45, "list": 0.40, "select": 0.15}, (1.0, 1.0), 1600,
)  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """Targets of the auxiliary losses.

    Args:
        phonemes, phoneme_counts: Of the utterances, `(batch, phonemes)` and `(batch,)`.
        tokens, token_counts: Their tokens, `(batch, tokens)` and `(batch,)`.
        rows, columns: Position of each listed keyword's last window in the batch, `(keywords,)`.
        spoken: Whether the keyword is spoken, `(keywords,)`.
        slots: Its phonemes, `(keywords, SLOTS)`; -100 = unknown.
        pieces: Its first tokens, `(keywords, PIECES)`; -100 = no further token.
        pointers: For each token of a keyword in an answer: row, column of the token before it, index of the token in
            the keyword, and column of the keyword's last window, `(tokens, 4)`.
    """

    phonemes: Tensor
    phoneme_counts: Tensor
    tokens: Tensor
    token_counts: Tensor
    rows: Tensor
    columns: Tensor
    spoken: Tensor
    slots: Tensor
    pieces: Tensor
    pointers: Tensor

    def to(self, device) -> "Labels":
        """The labels on a device."""
        return Labels(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


def phoneme_slots(phonemes: Sequence[str], numbers: dict[str, int]) -> list[int]:
    """Numbers of a keyword's first four and last three phonemes; -100 for a keyword of unknown pronunciation."""
    if not phonemes:
        return [-100] * SLOTS
    first = [*phonemes[:4], *[NO_PHONEME] * 4][:4]
    last = [*[NO_PHONEME] * 3, *phonemes[-3:]][-3:]
    return [numbers[mark] for mark in (*first, *last)]


def collate(examples: Sequence[Example], frames: Sequence[int] | None, processor, phonemes: dict[str, int]) -> dict:
    """The model's `inputs`, speech apart, and the `labels` of the auxiliary losses."""
    lists = [[keyword.text for keyword in example.keywords] for example in examples]
    answers = any(example.target for example in examples)
    batch = processor(
        [example.prompt for example in examples],
        keywords=lists,
        frames=None if frames is None else list(frames),
        targets=[example.target for example in examples] if answers else None,
        padding_side="right",
    )
    ids, context_id = batch["input_ids"], processor.tokenizer.convert_tokens_to_ids(processor.context_token)
    first = (ids == context_id).int().argmax(-1).tolist()
    starts = (batch["labels"] != -100).int().argmax(-1).tolist() if answers else [0] * len(ids)
    rows, columns, spoken, slots, pieces, pointers = [], [], [], [], [], []
    for row, example in enumerate(examples):
        row_ids = ids[row].tolist()
        for keyword, end in zip(example.keywords, processor.keyword_ends(lists[row]), strict=True):
            known = processor.tokenise_context([keyword.text])[0]
            rows.append(row)
            columns.append(first[row] + end)
            spoken.append(keyword.spoken)
            slots.append(phoneme_slots(keyword.phonemes, phonemes))
            pieces.append([*known[:PIECES], *[-100] * (PIECES - len(known))])
            if answers and keyword.spoken:
                for index in range(starts[row], len(row_ids) - len(known) + 1):
                    if row_ids[index : index + len(known)] == known:
                        pointers += [
                            (row, index + i - 1, min(i, PIECES - 1), first[row] + end) for i in range(len(known))
                        ]
    spoken_phonemes = [[phonemes[mark] for mark in example.phonemes] for example in examples]
    tokens = [processor.tokenizer.encode(" " + example.text, add_special_tokens=False) for example in examples]
    labels = Labels(
        phonemes=_pad(spoken_phonemes),
        phoneme_counts=torch.tensor([len(row) for row in spoken_phonemes]),
        tokens=_pad(tokens),
        token_counts=torch.tensor([len(row) for row in tokens]),
        rows=torch.tensor(rows, dtype=torch.long),
        columns=torch.tensor(columns, dtype=torch.long),
        spoken=torch.tensor(spoken, dtype=torch.bool),
        slots=torch.tensor(slots, dtype=torch.long).view(-1, SLOTS),
        pieces=torch.tensor(pieces, dtype=torch.long).view(-1, PIECES),
        pointers=torch.tensor(pointers, dtype=torch.long).view(-1, 4),
    )
    return {"inputs": dict(batch), "labels": labels}


class Batches(Dataset):
    """The batches of a run, by step.

    Args:
        items: All recordings; held-out ones are excluded here.
        texts: Sentences for batches without speech.
        sampler: Draws the examples.
        processors: By window.
        phonemes: Number of each phoneme; 0 is CTC's blank.
        steps: Length of the run.
        seconds: Speech per batch, at most.
        rows: Recordings per batch, at most.
        mixture: What the batches are made of.
    """

    def __init__(
        self,
        items: Sequence[Item],
        texts: Sequence[str],
        sampler: Sampler,
        processors: dict,
        phonemes: dict[str, int],
        steps: int,
        seconds: float,
        rows: int,
        mixture: Mixture = PRETRAINING,
    ) -> None:
        self._mixture = mixture
        self._items, self._texts, self._sampler = items, texts, sampler
        self._processors, self._phonemes = processors, phonemes
        self._steps, self._seconds, self._rows = steps, seconds, rows
        by_kind: dict[str, list[int]] = {kind: [] for kind in mixture.sources}
        for number, item in enumerate(items):
            if not item.held_out:
                by_kind[item.source if item.source in mixture.sources else RECORDINGS].append(number)
        self._by_length = {
            kind: sorted(numbers, key=lambda number: items[number].samples)
            for kind, numbers in by_kind.items()
            if numbers
        }

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict:
        """`inputs` and `labels` as of `collate`, the `window`, the `numbers` of the items, and their `lengths` in
        samples at the speed at which they are played."""
        rng = np.random.default_rng((SEED, 3, step))
        progress, mixture = step / self._steps, self._mixture
        window = int(rng.choice(list(WINDOWS), p=list(WINDOWS.values())))
        processor, numbers, lengths, frames = self._processors[window], [], [], None
        if progress < mixture.phonics:
            examples = [self._sampler.listing(None, 12, rng) for _ in range(self._rows)]
        elif rng.random() < mixture.text_only:
            indices = rng.integers(len(self._texts), size=2 * self._rows)
            examples = [self._sampler.reading(self._texts[index]) for index in indices]
        else:
            numbers = self._draw(rng)
            speeds = rng.uniform(*mixture.speeds, size=len(numbers))
            lengths = [int(self._items[n].samples / speed) for n, speed in zip(numbers, speeds, strict=True)]
            frames = [processor.frames(length) for length in lengths]
            items = [self._items[number] for number in numbers]
            most = max(min(LIST_SIZE, mixture.keywords // len(items)), 2)
            if progress < mixture.matching:
                if rng.random() < 0.5:
                    matched = (progress - mixture.phonics) / (mixture.matching - mixture.phonics)
                    grown = 4 + round((most // 2) * matched)
                    examples = [self._sampler.listing(item, min(grown, most), rng) for item in items]
                else:
                    examples = [self._sampler.example(item, 0, rng, task="none") for item in items]
            else:
                largest = int(rng.integers(1, most + 1))
                tasks, shares = list(mixture.tasks), list(mixture.tasks.values())
                examples = [
                    self._sampler.example(item, largest, rng, str(rng.choice(tasks, p=shares))) for item in items
                ]
        batch = collate(examples, frames, processor, self._phonemes)
        return {
            **batch,
            "window": window,
            "numbers": torch.tensor(numbers, dtype=torch.long),
            "lengths": torch.tensor(lengths, dtype=torch.long),
        }

    def _draw(self, rng: np.random.Generator) -> list[int]:
        """Items of similar length from one kind of source, as many as `seconds` and `rows` allow."""
        shares = {kind: self._mixture.sources[kind] for kind in self._by_length}
        total = sum(shares.values())
        kind = str(rng.choice(list(shares), p=[share / total for share in shares.values()]))
        ordered = self._by_length[kind]
        longest = int(rng.integers(len(ordered)))
        most = int(self._seconds / (self._items[ordered[longest]].samples / SAMPLE_RATE))
        count = max(1, min(self._rows, most, len(ordered)))
        # Chosen from three times as many, so that the same recordings rarely share a batch again.
        start = max(0, min(longest - 2 * count, len(ordered) - 3 * count))
        stretch = ordered[start : start + 3 * count]
        return [stretch[index] for index in rng.permutation(len(stretch))[:count]]


def _pad(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(map(len, rows), default=0)
    padded = torch.zeros(len(rows), width, dtype=torch.long)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = torch.tensor(values, dtype=torch.long)
    return padded
