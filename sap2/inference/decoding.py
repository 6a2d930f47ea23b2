"""Batched decoding: rows are sorted by length, batched under a budget, and answered in their original order.

The frozen encoder runs once per utterance: `encode` returns states that all later prompts reuse.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Cache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from sap2.errors import InputError
from sap2.inference.constraint import ListConstraint, Selection
from sap2.inference.joint import CtcPrefixScores, FrameScores
from sap2.model import CACHE, SapProcessor
from sap2.progress import track

# Speech of a row: a waveform (16 kHz mono), encoded states `(frames, encoder_hidden)`, or none.
Speech = np.ndarray | Tensor | None
# Computes CTC's frame scores from states, `(batch, frames, encoder_hidden)`, and their mask.
Scorer = Callable[[Tensor, Tensor], FrameScores]

LOOP_PERIOD = 16  # maximum length of a repeated block, in tokens
LOOP_TIMES = 6  # repetitions in a row that count as a loop
LOOP_TOKENS = 12  # minimum number of tokens of all repetitions together


@dataclass(frozen=True)
class Answer:
    """A model's answer, optionally with its tokens' log-probabilities.

    Args:
        text: The answer without special tokens; a loop is cut after its first round.
        pieces: Each token's text; together they have the text's separators, blanks and letters.
        logprobs: Natural logarithm of each token's probability given all tokens before it; empty unless requested.
    """

    text: str
    pieces: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()


@torch.no_grad()
def encode(
    model,
    processor: SapProcessor,
    audio: Sequence[np.ndarray],
    batch_size: int = 16,
    batch_seconds: float = 240.0,
    label: str | None = None,
) -> list[Tensor]:
    """Run the frozen encoder once per utterance; return `(frames, encoder_hidden)` states on the CPU.

    The states are those before the projector.

    Args:
        audio: Mono waveforms at 16 kHz, each at most the encoder's 30 s.
        batch_seconds: Maximum padded audio per batch; bounds the encoder's memory.
        label: Name of the progress display; None = no progress.
    """
    lengths = [len(wave) for wave in audio]
    budget = int(batch_seconds * processor.feature_extractor.sampling_rate)
    states: list[Tensor | None] = [None] * len(audio)
    for rows in _batches(lengths, batch_size, budget, label):
        features = processor.features([audio[row] for row in rows])
        hidden, mask = model.encode_speech(**features)
        for row, frames, count in zip(rows, hidden, mask.sum(-1).tolist(), strict=True):
            states[row] = frames[:count].cpu()
    return [encoded for encoded in states if encoded is not None]


def generate(model, processor: SapProcessor, *questions, **options) -> list[str]:
    """Return only the texts of `answers`; same arguments."""
    return [answer.text for answer in answers(model, processor, *questions, **options)]


def answers(
    model,
    processor: SapProcessor,
    items: Sequence[Speech],
    prompts: Sequence[str] | str,
    keywords: Sequence[Sequence[str]] | None = None,
    *,
    batch_size: int = 16,
    batch_tokens: int = 16_384,
    max_new_tokens: int = 128,
    num_beams: int = 1,
    selecting: bool = False,
    stop_bias: float = 0.0,
    scored: bool = False,
    frame_scores: Scorer | None = None,
    label: str | None = None,
) -> list[Answer]:
    """Answer each prompt about its speech; answer i belongs to item i, regardless of batching.

    Args:
        items: Speech of each row; waveforms are encoded, states are used directly.
        prompts: A prompt for all rows or one per row, from `sap2.prompts`.
        keywords: Each row's list; None = no lists.
        batch_size, batch_tokens, max_new_tokens, num_beams: See `sap2.settings.SearchSettings`.
        selecting: Constrain each answer to the row's list by `ListConstraint`, with `stop_bias`.
        scored: Return each token and its log-probability.
        frame_scores: Answers are transcripts, decoded jointly with CTC: `sap2.inference.joint`; None = by the decoder.
        label: Name of the progress display; None = no progress.
    Raises: InputError: numbers of items, prompts and lists differ, or an item is unusable.
    """
    prompts = [prompts] * len(items) if isinstance(prompts, str) else list(prompts)
    keywords = [[]] * len(items) if keywords is None else keywords
    if not len(items) == len(prompts) == len(keywords):
        raise InputError(f"{len(items)} items, {len(prompts)} prompts, {len(keywords)} lists; expected equal numbers")
    lengths = _lengths(processor, items, prompts, keywords)
    results = [Answer("")] * len(items)
    for rows in _batches(lengths, batch_size, batch_tokens // num_beams, label):
        batch = _answer(
            model, processor, [items[i] for i in rows], [prompts[i] for i in rows], [keywords[i] for i in rows],
            max_new_tokens, num_beams, stop_bias if selecting else None, scored, frame_scores,
        )  # fmt: skip
        for row, answer in zip(rows, batch, strict=True):
            results[row] = answer
    return results


@torch.no_grad()
def tags(
    model,
    processor: SapProcessor,
    items: Sequence[Speech],
    prompt: str,
    keywords: Sequence[Sequence[str]],
    *,
    batch_size: int = 16,
    batch_tokens: int = 16_384,
    label: str | None = None,
) -> list[dict[str, float]]:
    """Tag each row's keywords as spoken or not while reading the list, without generating an answer.

    Args:
        items, prompt, keywords, batch_size, batch_tokens, label: See `answers`.
    Returns: By row the log-odds that each keyword is spoken, in the list's order.
    """
    lengths = _lengths(processor, items, [prompt] * len(items), keywords)
    results: list[dict[str, float]] = [{}] * len(items)
    for rows in _batches(lengths, batch_size, batch_tokens, label):
        lists = [keywords[row] for row in rows]
        inputs = _inputs(model, processor, [items[row] for row in rows], [prompt] * len(rows), lists, "right")
        places = processor.keyword_positions(inputs["input_ids"], lists)
        odds = model.tag_keywords(places, **inputs).tolist()
        for row, words, values in zip(rows, lists, odds, strict=True):
            results[row] = dict(zip(words, values, strict=False))
    return results


@torch.no_grad()
def likelihoods(
    model,
    processor: SapProcessor,
    items: Sequence[Speech],
    prompts: Sequence[str],
    keywords: Sequence[Sequence[str]],
    texts: Sequence[Sequence[str]],
    *,
    batch_size: int = 16,
    batch_tokens: int = 16_384,
) -> list[list[float]]:
    """Compute the log-probability of each of a row's texts as the answer to its prompt, including the end.

    A prompt is processed once for all its texts.

    Args:
        items, prompts, keywords, batch_size, batch_tokens: See `answers`.
    """
    results = [[0.0] * len(several) for several in texts]
    for rows in _batches(_lengths(processor, items, prompts, keywords), batch_size, batch_tokens, None):
        pairs = [(index, number) for index, row in enumerate(rows) for number in range(len(texts[row]))]
        targets = [processor.target(texts[rows[index]][number]) for index, number in pairs]
        speech, questions, lists = ([column[row] for row in rows] for column in (items, prompts, keywords))
        inputs = _inputs(model, processor, speech, questions, lists, "left")
        read = model(**inputs, use_cache=True, logits_to_keep=1)
        mask, width = inputs["attention_mask"], inputs["attention_mask"].shape[1]
        for some in _batches([width + len(target) for target in targets], batch_size, batch_tokens, None):
            indices = torch.tensor([pairs[item][0] for item in some], device=model.device)
            labels = pad_sequence([torch.tensor(targets[item]) for item in some], batch_first=True, padding_value=-100)
            labels = labels.to(model.device)
            written = model(
                input_ids=labels.clamp(min=0), attention_mask=torch.cat([mask[indices], (labels != -100).to(mask)], 1),
                use_cache=True, **{CACHE: _selected(getattr(read, CACHE), indices)},
            ).logits[:, :-1]  # fmt: skip
            logprobs = torch.cat([read.logits[indices], written], 1).float().log_softmax(-1)
            chosen = logprobs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
            totals = (chosen * (labels != -100)).sum(-1)
            for item, total in zip(some, totals.tolist(), strict=True):
                index, number = pairs[item]
                results[rows[index]][number] = total
    return results


def _selected(cache: Cache, indices: Tensor) -> Cache:
    """Copy rows of a batch's cache, possibly repeated; the batch's cache is not changed."""
    chosen = copy(cache)
    chosen.layers = [copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(indices)
    return chosen


def trim_loop(tokens: Sequence[int]) -> list[int]:
    """Cut an answer that ends in a loop after the loop's first round.

    >>> trim_loop([7, 8] + [1, 2] * 6)
    [7, 8, 1, 2]
    >>> trim_loop([5, 5, 5])
    [5, 5, 5]
    """
    tokens = list(tokens)
    for period in range(1, LOOP_PERIOD + 1):
        need = _loop_length(period)
        if len(tokens) >= need and tokens[-need:-period] == tokens[period - need :]:
            start = len(tokens) - need
            while start and tokens[start - 1] == tokens[start - 1 + period]:
                start -= 1
            return tokens[: start + period]
    return tokens


class LoopStop(StoppingCriteria):
    """Stop rows that end in a repeated block, so that they do not generate up to the maximum length."""

    def __init__(self, prompt_length: int):
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs) -> Tensor:
        answer = input_ids[:, self.prompt_length :]
        looping = torch.zeros(len(answer), dtype=torch.bool, device=answer.device)
        for period in range(1, LOOP_PERIOD + 1):
            need = _loop_length(period)
            if answer.shape[1] >= need:
                tail = answer[:, -need:]
                looping |= (tail[:, period:] == tail[:, :-period]).all(-1)
        return looping


class Likeliest(LogitsProcessor):
    """Record the likeliest tokens of each step, which include those of the search; all logits would not fit in memory.

    Args:
        count: Tokens per row and step to record; beam search needs one per beam, plus one per beam and end token.
    """

    def __init__(self, count: int):
        self.count = count
        self.steps: list[tuple[Tensor, Tensor]] = []  # log-probabilities and tokens, (rows × beams, count) each

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        top = scores.float().log_softmax(-1).topk(min(self.count, scores.shape[-1]))
        self.steps.append((top.values, top.indices))
        return scores

    def of(self, tokens: Tensor, beams: Tensor | None) -> Tensor:
        """Return the log-probability of each answer token, `(rows, steps)`.

        Args:
            tokens: `(rows, steps)`.
            beams: The row of an answer's beam at each step, `(rows, steps)`; None = its own row.
        """
        gathered = torch.zeros(tokens.shape, dtype=torch.float32, device=tokens.device)
        for step, (values, indices) in enumerate(self.steps[: tokens.shape[1]]):
            if beams is not None:
                row = beams[:, step].clamp(min=0)
                values, indices = values[row], indices[row]
            matches = indices == tokens[:, step, None]
            index = matches.long().argmax(-1, keepdim=True)
            # A token that was not recorded tied with the last recorded token.
            gathered[:, step] = torch.where(matches, values, values[:, -1:]).gather(-1, index)[:, 0]
        return gathered


def _loop_length(period: int) -> int:
    return period * max(LOOP_TIMES, -(-LOOP_TOKENS // period))


@torch.no_grad()
def _answer(
    model, processor, items, prompts, keywords, max_new_tokens: int, num_beams: int, stop_bias: float | None,
    scored: bool, frame_scores: Scorer | None,
) -> list[Answer]:  # fmt: skip
    inputs = _inputs(model, processor, items, prompts, keywords, "left")
    prompt_length = inputs["input_ids"].shape[1]
    tokenizer = processor.tokenizer
    ends = processor.end_ids
    # Set all sampling fields: unset fields would come from the base's generation_config.json.
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, num_beams=num_beams, do_sample=False, temperature=1.0, top_k=50, top_p=1.0,
        repetition_penalty=1.0, length_penalty=1.0, num_return_sequences=1, early_stopping=False, use_cache=True,
        eos_token_id=sorted(ends), pad_token_id=processor.pad_id, return_dict_in_generate=True,
    )  # fmt: skip
    criteria = StoppingCriteriaList([LoopStop(prompt_length)])
    processors = LogitsProcessorList()
    if stop_bias is not None:
        selections = [Selection(processor, words, ends) for words in keywords]
        processors.append(ListConstraint(selections, prompt_length, stop_bias))
    frames = _frame_scores(frame_scores, inputs)
    if frames is not None:
        processors.append(CtcPrefixScores(frames, prompt_length, num_beams, ends))
    likeliest = Likeliest((1 + len(ends)) * num_beams)
    if scored:
        processors.append(likeliest)
    output = model.generate(
        **inputs, generation_config=config, stopping_criteria=criteria, logits_processor=processors
    )  # fmt: skip
    rows = output.sequences[:, prompt_length:]
    logprobs = likeliest.of(rows, getattr(output, "beam_indices", None)).tolist() if scored else [()] * len(rows)
    results = []
    for tokens, row in zip(rows.tolist(), logprobs, strict=True):
        end = next((index for index, token in enumerate(tokens) if token in ends), len(tokens))
        tokens = trim_loop(tokens[:end])
        span = processor.answer_span(tokens)
        text = tokenizer.decode(tokens[span], skip_special_tokens=True).strip()
        pieces = [tokenizer.decode([token], skip_special_tokens=True) for token in tokens[span]] if scored else ()
        results.append(Answer(text, tuple(pieces), tuple(row[: len(tokens)][span])))
    return results


def _frame_scores(scorer: Scorer | None, inputs: dict[str, Tensor]) -> FrameScores | None:
    if scorer is None or "speech_states" not in inputs:
        return None
    return scorer(inputs["speech_states"], inputs["speech_mask"])


def _inputs(model, processor, items, prompts, keywords, padding_side: str) -> dict[str, Tensor]:
    states = _states(model, processor, items)
    frames = [len(frames) for frames in states]
    batch = processor(prompts, keywords, frames=frames, padding_side=padding_side)
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
    if any(len(frames) for frames in states):
        inputs["speech_states"] = pad_sequence(states, batch_first=True).to(model.device)
        counts = torch.tensor([len(frames) for frames in states])
        inputs["speech_mask"] = (torch.arange(int(counts.max())) < counts[:, None]).to(model.device)
    return inputs


def _states(model, processor, items: Sequence[Speech]) -> list[Tensor]:
    """Encode each row's speech if needed; empty tensors for rows without speech."""
    waves = {row: item for row, item in enumerate(items) if isinstance(item, np.ndarray)}
    states = dict(zip(waves, encode(model, processor, list(waves.values()), len(items)), strict=True))
    states |= {row: item for row, item in enumerate(items) if isinstance(item, Tensor)}
    known = next(iter(states.values()), None)
    empty = known.new_zeros(0, known.shape[-1]) if known is not None else torch.zeros(0, 1)
    return [states.get(row, empty) for row in range(len(items))]


def _lengths(processor, items, prompts, keywords) -> list[int]:
    """Return each row's prompt length in tokens, including list and speech."""
    return [
        processor.prompt_length(prompt, words, _frames(processor, item))
        for item, prompt, words in zip(items, prompts, keywords, strict=True)
    ]


def _frames(processor, item: Speech) -> int:
    if item is None:
        return 0
    return len(item) if isinstance(item, Tensor) else processor.frames(len(item))


def _batches(lengths: Sequence[int], batch_size: int, budget: int, label: str | None) -> Iterator[list[int]]:
    """Yield batches of row indices, longest rows first: memory errors come early, and padding stays small."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        # The first row of a batch is its longest.
        if batches and len(batches[-1]) < batch_size and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    yield from track(batches, len(batches), label) if label else batches
