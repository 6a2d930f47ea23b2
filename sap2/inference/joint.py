"""Joint decoding: each next token by the decoder and by CTC's frame scores together.

A decoder this small sometimes loses its place in the speech, or writes what it has read before instead of what is
spoken. CTC reads the frames from left to right and cannot; but it knows no language. A hypothesis is scored by both, as
Watanabe et al. (2017, section III-C) do with CTC's prefix probabilities, token by token within the beam search of
transformers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessor

__all__ = ["IMPOSSIBLE", "CtcPrefixScores", "FrameScores", "text_likelihoods"]

CANDIDATES = 16  # likeliest tokens of the decoder that CTC scores at each step; others are ruled out
IMPOSSIBLE = -1e4  # log-probability of what cannot be, such as a token in a padded frame


class FrameScores(NamedTuple):
    """CTC's scores of a batch, and their weight against the decoder's.

    Args:
        scores: Log-probabilities of tokens, `(batch, frames, tokens)`.
        mask: True = valid, `(batch, frames)`.
        blank: CTC's blank.
        weight: Share of CTC in a hypothesis's score, above 0 and below 1.
    """

    scores: Tensor
    mask: Tensor
    blank: int
    weight: float


class _Prefix(NamedTuple):
    """What CTC knows of an answer's beginning; index 0 is before the first frame, index t + 1 is frame t.

    Args:
        on_token, on_blank: Log-probability of the prefix by a path that ends in the frame on its last token or on a
            blank, `(frames + 1,)`.
        score: Log-probability that a transcript begins so.
    """

    on_token: Tensor
    on_blank: Tensor
    score: Tensor


class CtcPrefixScores(LogitsProcessor):
    """Mix CTC's prefix scores into the decoder's, within a greedy or beam search.

    The result is (1 - weight) · log p(token | text, speech) + weight · the gain of CTC's log prefix probability by the
    token; of an end token, CTC's log-probability of the text as a whole less that of the prefix.

    Args:
        frames: Of the batch's utterances, in its order.
        prompt_length: Tokens before the answer.
        num_beams: Hypotheses per utterance, which stand together.
        end_ids: Tokens that end an answer.
    """

    def __init__(self, frames: FrameScores, prompt_length: int, num_beams: int, end_ids: Sequence[int]) -> None:
        self._frames, self._prompt_length, self._num_beams = frames, prompt_length, num_beams
        scores = frames.scores.double()
        padded = ~frames.mask[..., None]
        only_blank = torch.full_like(scores, IMPOSSIBLE)
        only_blank[..., frames.blank] = 0.0
        self._scores = torch.where(padded, only_blank, scores)  # (batch, frames, tokens)
        self._end_ids = torch.tensor(sorted(end_ids), device=scores.device)
        self._prefixes: dict[tuple[int, tuple[int, ...]], _Prefix] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Score the next tokens.

        Args:
            input_ids: Prompts and answers so far, `(batch · beams, length)`.
            scores: Of the decoder, `(batch · beams, tokens)`.
        """
        answers = input_ids[:, self._prompt_length :].tolist()
        likely = scores.float().log_softmax(-1)
        candidates = likely.topk(min(CANDIDATES, likely.shape[-1])).indices
        known, self._prefixes = self._prefixes, {}
        rows = torch.arange(len(answers), device=scores.device) // self._num_beams
        states = [self._prefix(known, row, tuple(answer)) for row, answer in zip(rows.tolist(), answers, strict=True)]
        state = _Prefix(*map(torch.stack, zip(*states, strict=True)))
        last = torch.tensor([answer[-1] if answer else -1 for answer in answers], device=scores.device)
        weight = self._frames.weight
        result = torch.full_like(likely, float("-inf"))
        gains = self._gains(state, rows, candidates, last).to(likely.dtype)
        result.scatter_(1, candidates, (1 - weight) * likely.gather(1, candidates) + weight * gains)
        result[:, self._frames.blank] = float("-inf")
        whole = torch.logaddexp(state.on_token[:, -1], state.on_blank[:, -1]) - state.score
        ends = self._end_ids
        result[:, ends] = (1 - weight) * likely[:, ends] + weight * whole[:, None].to(likely.dtype)
        return result

    def _prefix(self, known: dict[tuple[int, tuple[int, ...]], _Prefix], row: int, answer: tuple[int, ...]) -> _Prefix:
        """The state of an answer so far, from that of the answer without its last token if that is known."""
        key = row, answer
        if key in self._prefixes:
            return self._prefixes[key]
        if not answer:
            blanks = _running_sum(self._scores[row, :, self._frames.blank])
            state = _Prefix(torch.full_like(blanks, float("-inf")), blanks, blanks.new_zeros(()))
        elif (row, answer[:-1]) in known:
            state = self._extended(known[row, answer[:-1]], row, answer)
        else:
            state = self._extended(self._prefix(known, row, answer[:-1]), row, answer)
        self._prefixes[key] = state
        return state

    def _extended(self, before: _Prefix, row: int, answer: tuple[int, ...]) -> _Prefix:
        token, repeated = answer[-1], answer[-1] == (answer[-2] if len(answer) > 1 else None)
        entering = before.on_blank if repeated else torch.logaddexp(before.on_token, before.on_blank)
        of_token = self._scores[row, :, token]
        on_token = _recursion(entering, of_token)
        on_blank = _recursion(on_token, self._scores[row, :, self._frames.blank])
        score = torch.logsumexp(entering[:-1] + of_token, -1)
        return _Prefix(on_token, on_blank, score)

    def _gains(self, state: _Prefix, rows: Tensor, candidates: Tensor, last: Tensor) -> Tensor:
        """By how much each candidate changes the log prefix probability, `(hypotheses, candidates)`."""
        of_tokens = self._scores[rows[:, None], :, candidates]  # (hypotheses, candidates, frames)
        either = torch.logaddexp(state.on_token, state.on_blank)[:, None, :-1]
        repeated = (candidates == last[:, None])[..., None]
        entering = torch.where(repeated, state.on_blank[:, None, :-1], either)
        return torch.logsumexp(entering + of_tokens, -1) - state.score[:, None]


def _running_sum(scores: Tensor) -> Tensor:
    """Sums over the frames before each and over all, `(frames + 1,)`."""
    return torch.nn.functional.pad(scores.cumsum(-1), (1, 0))


def _recursion(entering: Tensor, scores: Tensor) -> Tensor:
    """The log-probability of standing on a token in each frame, entered before that frame or any earlier one.

    r[t] = log(exp r[t - 1] + exp entering[t - 1]) + score[t], without a loop over frames: less its running sum of
    scores, r is a running sum of what enters.

    Args:
        entering: `(frames + 1,)`.
        scores: Of the token, `(frames,)`.
    """
    sums = _running_sum(scores)
    entered = torch.logcumsumexp((entering - sums)[:-1], -1) + sums[1:]
    return torch.nn.functional.pad(entered, (1, 0), value=float("-inf"))


def text_likelihoods(frames: FrameScores, rows: Sequence[int], texts: Sequence[Sequence[int]]) -> Tensor:
    """CTC's log-probability of texts, `(texts,)`; -inf for a text with more tokens than there are frames.

    Args:
        frames: Of a batch.
        rows: Each text's utterance in the batch.
        texts: Their tokens.
    """
    counts = frames.mask.sum(-1)
    written = torch.tensor([token for text in texts for token in text], dtype=torch.long, device=counts.device)
    used, targets = written.unique(return_inverse=True)
    columns = torch.cat([torch.tensor([frames.blank], device=counts.device), used])  # of thousands, those that matter
    scores = frames.scores[..., columns].transpose(0, 1)[:, list(rows)]
    lengths = torch.tensor([len(text) for text in texts], device=counts.device)
    return -torch.nn.functional.ctc_loss(
        scores.float(), targets + 1, counts[list(rows)], lengths, blank=0, reduction="none"
    )
