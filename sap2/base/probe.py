"""How well the base under training transcribes held-out recordings, without and with a keyword list."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sap2 import prompts
from sap2.base.corpus import LECTURES, SEED, Item
from sap2.base.sampler import Sampler
from sap2.evaluation import align_all
from sap2.inference.decoding import generate

__all__ = ["Probe", "word_error_rate"]

RECORDINGS = 160  # at most, of each kind
LIST_SIZE = 50  # keywords of a list, at most
LONGEST_ANSWER = 90  # tokens


class Probe:
    """Transcribes held-out recordings of people and of the lectures, always the same ones with the same lists."""

    def __init__(self, items: Sequence[Item], sampler: Sampler) -> None:
        rng = np.random.default_rng((SEED, 9))
        self._groups = {}
        for name in ("recordings", "lectures"):
            held_out = [
                number
                for number, item in enumerate(items)
                if item.held_out and (item.source == LECTURES) == (name == "lectures")
            ]
            numbers = sorted(rng.permutation(held_out)[:RECORDINGS].tolist(), key=lambda number: items[number].samples)
            examples = [
                sampler.example(items[number], LIST_SIZE, np.random.default_rng((SEED, 11, number)), "list")
                for number in numbers
            ]
            if numbers:
                self._groups[name] = numbers, examples

    @torch.no_grad()
    def __call__(self, model, processor, encode: Callable[[list[int]], list[Tensor]]) -> dict[str, float]:
        """Word error rates and the share of the spoken keywords that are written, without (`none`) and with a list.

        Args:
            encode: Returns the encoder states of items, by their numbers.
        """
        model.eval()
        model.config.window = processor.window
        figures = {}
        for name, (numbers, examples) in self._groups.items():
            states = encode(numbers)
            lists = [[keyword.text for keyword in example.keywords] for example in examples]
            spoken = [[keyword.text for keyword in example.keywords if keyword.spoken] for example in examples]
            for context, given in (("none", [[] for _ in lists]), ("list", lists)):
                answers = generate(
                    model, processor, states, [prompts.recognition_prompt(bool(words)) for words in given], given,
                    max_new_tokens=LONGEST_ANSWER, batch_size=RECORDINGS, batch_tokens=1 << 20,
                )  # fmt: skip
                texts = [example.text for example in examples]
                figures[f"{name}_wer_{context}"] = round(word_error_rate(texts, answers), 4)
                figures[f"{name}_keywords_{context}"] = round(_share_written(spoken, answers), 4)
        model.train()
        return figures


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Word errors per reference word."""
    pairs = [
        (reference.split(), hypothesis.split()) for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    errors = sum(edit.kind != "equal" for alignment in align_all(pairs, "slidespeech") for edit in alignment)
    return errors / max(sum(len(reference) for reference, _ in pairs), 1)


def _share_written(spoken: Sequence[Sequence[str]], answers: Sequence[str]) -> float:
    written = sum(f" {word} " in f" {answer} " for words, answer in zip(spoken, answers, strict=True) for word in words)
    return written / max(sum(map(len, spoken)), 1)
