"""Conversion of utterances to batches: an epoch's list, target and speed, with the waveform or encoder states."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from sap2.data.audio import load_audio
from sap2.errors import InputError
from sap2.manifest import Utterance, audio_path
from sap2.model import SAMPLE_RATE, SapProcessor
from sap2.training.augment import Augmenter, change_speed
from sap2.training.encoder_cache import EncodedSpeech
from sap2.training.lists import Draw, ListDrawer
from sap2.training.schedule import Entry


@dataclass(frozen=True)
class Example:
    """An utterance as it is trained in an epoch.

    Args:
        index: Index of the utterance in its split or shard.
        speed: Factor of the recording's speed.
        recording: Content of the recording's file, if it has been read already.
    """

    index: int
    utterance: Utterance
    draw: Draw
    epoch: int = 0
    speed: float = 1.0
    recording: bytes | None = None


class Examples(Dataset[Example]):
    """The examples of a split, in the planned order.

    Args:
        utterances: The split.
        drawer: Draws each entry's list and target.
        plan: `(epoch, index)` entries; None = every utterance once, as in epoch 0.
        augmenter: Draws each entry's speed; None = as recorded.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        drawer: ListDrawer,
        plan: Sequence[Entry] | None = None,
        augmenter: Augmenter | None = None,
    ):
        self.utterances, self.drawer, self.augmenter = utterances, drawer, augmenter
        self.plan = [(0, index) for index in range(len(utterances))] if plan is None else plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> Example:
        return self.example(*self.plan[position])

    def example(self, epoch: int, index: int) -> Example:
        """Return an utterance with its draws of an epoch."""
        utterance = self.utterances[index]
        speed = self.augmenter.speed(utterance, epoch) if self.augmenter is not None else 1.0
        return Example(index, utterance, self.drawer.draw(utterance, epoch), epoch, speed)


class Collator:
    """Build batches from examples of a manifest.

    Args:
        processor: Processor with the model's window.
        manifest: Manifest of the utterances; their audio paths are relative to it.
        encoded: Encoder states of the same utterances in the same order, instead of waveforms.
        full_logits: False requests only the last position's logits, as the full table may not fit in evaluation.
        augmenter: Masks the features; None = no masks.
        tagging: Whether to add each keyword's position and whether it is spoken.
    """

    def __init__(
        self,
        processor: SapProcessor,
        manifest: Path,
        encoded: EncodedSpeech | None = None,
        full_logits: bool = True,
        augmenter: Augmenter | None = None,
        tagging: bool = False,
    ):
        self.processor, self.manifest = processor, Path(manifest)
        self.encoded, self.full_logits, self.augmenter = encoded, full_logits, augmenter
        self.tagging = tagging

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        speech = _states(self.encoded, examples) if self.encoded is not None else {}
        batch = self.processor(
            prompts=[example.draw.prompt for example in examples],
            keywords=[example.draw.keywords for example in examples],
            audio=None if speech else [self._wave(example) for example in examples],
            frames=speech["speech_mask"].sum(-1).tolist() if speech else None,
            targets=[example.draw.target for example in examples],
        )
        if self.augmenter is not None and not speech:
            mel_frames = batch["feature_attention_mask"].sum(-1).tolist()
            drawn = [(example.utterance, example.epoch) for example in examples]
            self.augmenter.mask(batch["input_features"], mel_frames, drawn)
        head = {} if self.full_logits else {"logits_to_keep": 1}
        tags = self._tags(batch["input_ids"], [example.draw for example in examples]) if self.tagging else {}
        return {**batch, **speech, **head, **tags}

    def length(self, example: Example) -> int:
        """Return the number of tokens of an example: speech, prompt, list and answer."""
        if self.encoded is not None:
            frames = self.encoded.frames(example.index)
        else:
            frames = self.processor.frames(int(example.utterance.duration / example.speed * SAMPLE_RATE))
        answer = len(self.processor.tokenizer.encode(example.draw.target, add_special_tokens=False)) + 1
        return self.processor.prompt_length(example.draw.prompt, example.draw.keywords, frames) + answer

    def check(self, example: Example, length: int, limit: int) -> None:
        """Check that an example has at most `limit` tokens: truncation would remove its answer.

        Raises: InputError: it has more.
        """
        if length > limit:
            seconds, keywords = example.utterance.duration, len(example.draw.keywords)
            raise InputError(
                f"{self.manifest} ({example.utterance.id}): {length} tokens for {seconds:.1f} s of speech and "
                f"{keywords} keywords, max_length allows {limit}; raise it, or lower list_sizes"
            )

    def _wave(self, example: Example) -> np.ndarray:
        path = audio_path(example.utterance, self.manifest)
        return change_speed(load_audio(path, content=example.recording), example.speed)

    def _tags(self, input_ids: torch.Tensor, draws: Sequence[Draw]) -> dict[str, torch.Tensor]:
        positions = self.processor.keyword_positions(input_ids, [draw.keywords for draw in draws])
        labels = torch.full_like(positions, -100)
        for row, draw in enumerate(draws):
            labels[row, : len(draw.keywords)] = torch.tensor([word in draw.spoken for word in draw.keywords])
        return {"keyword_positions": positions, "keyword_labels": labels}


def _states(encoded: EncodedSpeech, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    states = [encoded.states(example.index) for example in examples]  # each (frames, encoder_hidden)
    padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)  # (batch, frames, encoder_hidden)
    frames = torch.tensor([len(rows) for rows in states])
    return {"speech_states": padded.float(), "speech_mask": torch.arange(padded.shape[1]) < frames[:, None]}


class Batches(Dataset[dict[str, torch.Tensor]]):
    """A split in planned batches: each item is a collated batch.

    Args:
        plan: Batches of `(epoch, index)` entries.
    """

    def __init__(self, examples: Examples, plan: Sequence[Sequence[Entry]], collator: Collator):
        self.examples, self.plan, self.collator = examples, plan, collator

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        return self.collator([self.examples.example(*entry) for entry in self.plan[position]])


def only(batches: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the single batch that a loader of `Batches` gets per step."""
    (batch,) = batches
    return batch
