"""Utterances to the model's batches: this epoch's list, target and speed, with the waveform or the encoder's states."""

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
    """One utterance as it is trained in one epoch; `speed` is the factor its recording is played at.

    `recording` holds its file's bytes, where they have been read already.
    """

    index: int
    utterance: Utterance
    draw: Draw
    epoch: int = 0
    speed: float = 1.0
    recording: bytes | None = None


class Examples(Dataset):
    """The examples of a split, in the planned order.

    Args:
        utterances: The split.
        drawer: Draws each entry's list and target.
        plan: `(epoch, index)` entries; None = every utterance once, as drawn in epoch 0.
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
        utterance = self.utterances[index]
        speed = self.augmenter.speed(utterance, epoch) if self.augmenter is not None else 1.0
        return Example(index, utterance, self.drawer.draw(utterance, epoch), epoch, speed)


class Collator:
    """Build batches from examples of one manifest.

    Args:
        processor: Set up for the model's window.
        manifest: Where the utterances come from; their audio is found from there.
        encoded: States of the same utterances in the same order, instead of waveforms.
        whole_logits: False asks the model for its loss alone (in evaluation the table of logits may not fit).
        augmenter: Masks the features; None = as they are.
        tagging: With where each keyword stands and whether it is spoken.
    """

    def __init__(
        self,
        processor: SapProcessor,
        manifest: Path,
        encoded: EncodedSpeech | None = None,
        whole_logits: bool = True,
        augmenter: Augmenter | None = None,
        tagging: bool = False,
    ):
        self.processor, self.manifest = processor, Path(manifest)
        self.encoded, self.whole_logits, self.augmenter = encoded, whole_logits, augmenter
        self.tagging = tagging

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        speech = self._states(examples) if self.encoded is not None else {}
        batch = self.processor(
            prompts=[example.draw.prompt for example in examples],
            keywords=[example.draw.keywords for example in examples],
            audio=None if speech else [self._wave(example) for example in examples],
            frames=speech["speech_mask"].sum(-1).tolist() if speech else None,
            targets=[example.draw.target for example in examples],
        )
        if self.augmenter is not None and not speech:
            mel_frames = batch["feature_attention_mask"].sum(-1).tolist()
            self.augmenter.mask(batch["input_features"], mel_frames, [(one.utterance, one.epoch) for one in examples])
        head = {} if self.whole_logits else {"logits_to_keep": 1}
        tags = self._tags(batch["input_ids"], [example.draw for example in examples]) if self.tagging else {}
        return {**batch, **speech, **head, **tags}

    def length(self, example: Example) -> int:
        """Tokens of an example: speech, prompt, list and answer."""
        if self.encoded is not None:
            frames = self.encoded.frames(example.index)
        else:
            frames = self.processor.frames(int(example.utterance.duration / example.speed * SAMPLE_RATE))
        answer = len(self.processor.tokenizer.encode(example.draw.target, add_special_tokens=False)) + 1
        return self.processor.prompt_length(example.draw.prompt, example.draw.keywords, frames) + answer

    def check(self, example: Example, length: int, limit: int) -> None:
        """Raise InputError for an example of more than `limit` tokens: cutting it would cut its answer."""
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
        places = self.processor.keyword_positions(input_ids, [draw.keywords for draw in draws])
        labels = torch.full_like(places, -100)
        for row, draw in enumerate(draws):
            labels[row, : len(draw.keywords)] = torch.tensor([word in draw.spoken for word in draw.keywords])
        return {"keyword_positions": places, "keyword_labels": labels}

    def _states(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        states = [self.encoded.states(example.index) for example in examples]  # each (frames, encoder_hidden)
        padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)  # (batch, frames, encoder_hidden)
        frames = torch.tensor([len(one) for one in states])
        return {"speech_states": padded.float(), "speech_mask": torch.arange(padded.shape[1]) < frames[:, None]}


class Batches(Dataset):
    """A split in planned batches: one batch, collated, an item.

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
    """The one batch a loader of `Batches` collates."""
    (batch,) = batches
    return batch
