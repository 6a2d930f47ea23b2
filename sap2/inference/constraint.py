"""Constrained decoding of stage 1: an answer can only name listed keywords, each once, or `none`."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from sap2.model import SapProcessor
from sap2.prompts import NOTHING

__all__ = ["ListConstraint", "Selection"]


class Selection:
    """The valid continuations of a row's answer, such as `k3, k7` or `none`.

    Args:
        keywords: The row's keyword list.
        ends: Tokens that end an answer.
    """

    def __init__(self, processor: SapProcessor, keywords: Sequence[str], ends: Iterable[int]):
        self.ends, self._count = frozenset(ends), len(keywords)
        # Tokens of each keyword before another keyword and at the end, at the start of the answer and later.
        self._first = self._paths(processor, keywords, first=True)
        self._later = self._paths(processor, keywords, first=False)
        nothing = tuple(processor.tokenise_word(NOTHING, first=True))
        self._nothing = (nothing, -1, True)
        self._first.setdefault(nothing[0], []).append(self._nothing)

    @staticmethod
    def _paths(processor, keywords: Sequence[str], first: bool) -> dict[int, list[tuple[tuple[int, ...], int, bool]]]:
        """Return `(tokens, keyword, whether the answer ends there)` by first token."""
        paths: dict[int, list[tuple[tuple[int, ...], int, bool]]] = {}
        for number, word in enumerate(keywords):
            for closing in (True, False):
                tokens = tuple(processor.tokenise_word(word, first=first, separated=not closing))
                paths.setdefault(tokens[0], []).append((tokens, number, closing))
        return paths

    def following(self, answer: Sequence[int]) -> tuple[set[int], set[int]]:
        """Return the valid next tokens, and those of them that name no further keyword (`none`, or the end).

        Raises: ValueError: the answer left the list.
        """
        used: set[int] = set()
        paths, start = self._first, 0
        end = len(answer)
        while start < end:
            rest = tuple(answer[start:end])
            done = [path for path in paths.get(rest[0], ()) if path[1] not in used and not path[2]]
            word = next((path for path in done if rest[: len(path[0])] == path[0]), None)
            if word is None:
                return self._inside(paths.get(rest[0], ()), rest, used)
            paths, start = self._later, start + len(word[0])
            used.add(word[1])
        free = {first for first, several in paths.items() if any(path[1] not in used for path in several)}
        nothing = self._nothing[0][0]
        return free, {nothing} if paths is self._first and len(paths[nothing]) == 1 else set()

    def _inside(self, paths, rest: tuple[int, ...], used: set[int]) -> tuple[set[int], set[int]]:
        last = len(used) == self._count - 1  # no keyword can follow
        alive = [
            path for path in paths if path[1] not in used and path[0][: len(rest)] == rest and (path[2] or not last)
        ]
        if not alive:
            raise ValueError(f"the tokens {rest} are not part of the list")
        following = {path[0][len(rest)] for path in alive if len(path[0]) > len(rest)}
        if any(path[0] == rest and path[2] for path in alive):
            return following | self.ends, set(self.ends)
        nothing = {path[0][len(rest)] for path in alive if path is self._nothing}
        return following, nothing - {path[0][len(rest)] for path in alive if path is not self._nothing}


class ListConstraint(LogitsProcessor):
    """Constrain each row's answer to its keyword list.

    Args:
        selections: One per row of the batch.
        prompt_length: Number of tokens before the answer.
        stop_bias: Added to the logits of stopping; a negative bias selects more keywords.
    """

    def __init__(self, selections: Sequence[Selection], prompt_length: int, stop_bias: float = 0.0):
        self.selections, self.prompt_length, self.stop_bias = selections, prompt_length, stop_bias

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return logits `(batch × beams, vocabulary)` with -inf for invalid tokens."""
        beams = len(input_ids) // len(self.selections)
        answers = input_ids[:, self.prompt_length :].tolist()
        bias = torch.full_like(scores, -torch.inf)
        for row, answer in enumerate(answers):
            selection = self.selections[row // beams]
            if not selection.ends.isdisjoint(answer):
                bias[row] = 0.0  # finished: generate pads it
                continue
            allowed, stops = selection.following(answer)
            bias[row, list(allowed)] = 0.0
            bias[row, list(stops)] = self.stop_bias
        return scores + bias
