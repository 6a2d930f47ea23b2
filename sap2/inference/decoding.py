"""Batched decoding: rows sorted by length, batched under a budget, answers back in the order they were asked for.

The frozen encoder hears an utterance once: `encode` gives states that every later question about it can reuse.
"""

from collections.abc import Iterator, Sequence
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
from sap2.model import CACHE, SapProcessor
from sap2.progress import track

# What a row hears: a waveform (16 kHz mono), states encoded before `(frames, encoder_hidden)`, or nothing.
Speech = np.ndarray | Tensor | None

LOOP_PERIOD = 16  # longest repeated block looked for, in tokens
LOOP_TIMES = 6  # a block this many times in a row is a loop, not speech
LOOP_TOKENS = 12  # … if the copies have at least this many tokens together


@dataclass(frozen=True)
class Answer:
    """What the model answered, and how sure it was of each token.

    Args:
        text: Without special tokens; one that fell into a loop is cut after the first round.
        pieces: Text of each token decoded alone; together they have the text's separators, blanks and letters.
        logprobs: Natural logarithm of each token's probability, given all before it; empty when not asked for.
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
    """Run the frozen encoder once an utterance: states before the projector, `(frames, encoder_hidden)` each, on the
    CPU.

    Args:
        audio: Mono waveforms at 16 kHz, at most the encoder's 30 s each.
        batch_seconds: Padded audio a batch at most; bounds the encoder's memory.
        label: Shows progress under this name.
    """
    lengths = [len(wave) for wave in audio]
    budget = int(batch_seconds * processor.feature_extractor.sampling_rate)  # type: ignore[attr-defined]
    states: list[Tensor | None] = [None] * len(audio)
    for rows in _batches(lengths, batch_size, budget, label):
        features = processor.features([audio[row] for row in rows])
        hidden, mask = model.encode_speech(**features)
        for row, frames, count in zip(rows, hidden, mask.sum(-1).tolist(), strict=True):
            states[row] = frames[:count].cpu()
    return [one for one in states if one is not None]


def generate(model, processor: SapProcessor, *questions, **options) -> list[str]:
    """The text alone of `answers`, which takes the same arguments."""
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
    label: str | None = None,
) -> list[Answer]:
    """Answer each prompt about its speech; answer i belongs to item i, whatever the batches were.

    Args:
        items: What each row hears; waveforms are encoded on the way, states are used as they are.
        prompts: One for all rows or one each, from `sap2.prompts`.
        keywords: Each row's list; None = no lists.
        batch_size, batch_tokens, max_new_tokens, num_beams: See `sap2.settings.SearchSettings`.
        selecting: Hold each answer to the row's list, as `ListConstraint` does with `stop_bias`.
        scored: With each token and its log-probability.
        label: Shows progress under this name.
    Raises: InputError: numbers of items, prompts and lists differ, or one cannot be used.
    """
    prompts = [prompts] * len(items) if isinstance(prompts, str) else list(prompts)
    keywords = [[]] * len(items) if keywords is None else keywords
    if not len(items) == len(prompts) == len(keywords):
        raise InputError(f"{len(items)} items, {len(prompts)} prompts, {len(keywords)} lists; give one each")
    lengths = _lengths(processor, items, prompts, keywords)
    found = [Answer("")] * len(items)
    for rows in _batches(lengths, batch_size, batch_tokens // num_beams, label):
        batch = _answer(
            model, processor, [items[i] for i in rows], [prompts[i] for i in rows], [keywords[i] for i in rows],
            max_new_tokens, num_beams, stop_bias if selecting else None, scored,
        )  # fmt: skip
        for row, answer in zip(rows, batch, strict=True):
            found[row] = answer
    return found


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
    """How likely each row's keywords are spoken, as the model tags them while it reads the list: no answer is made.

    Args:
        items, prompt, keywords, batch_size, batch_tokens, label: As of `answers`.
    Returns: Of each keyword the log-odds that it is spoken, in the list's order.
    """
    lengths = _lengths(processor, items, [prompt] * len(items), keywords)
    found: list[dict[str, float]] = [{}] * len(items)
    for rows in _batches(lengths, batch_size, batch_tokens, label):
        lists = [keywords[row] for row in rows]
        inputs = _inputs(model, processor, [items[row] for row in rows], [prompt] * len(rows), lists, "right")
        places = processor.keyword_places(inputs["input_ids"], lists)
        odds = model.tag_keywords(places, **inputs).tolist()
        for row, words, values in zip(rows, lists, odds, strict=True):
            found[row] = dict(zip(words, values, strict=False))
    return found


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
    """The log-probability of each of a row's texts as the answer to its prompt, the end included.

    A prompt is read once, however many texts it has.

    Args:
        items, prompts, keywords, batch_size, batch_tokens: As of `answers`.
    """
    found = [[0.0] * len(several) for several in texts]
    for rows in _batches(_lengths(processor, items, prompts, keywords), batch_size, batch_tokens, None):
        asked = [(place, number) for place, row in enumerate(rows) for number in range(len(texts[row]))]
        targets = [processor.target(texts[rows[place]][number]) for place, number in asked]
        spoken, asked_with, lists = ([column[row] for row in rows] for column in (items, prompts, keywords))
        inputs = _inputs(model, processor, spoken, asked_with, lists, "left")
        read = model(**inputs, use_cache=True, logits_to_keep=1)
        mask, width = inputs["attention_mask"], inputs["attention_mask"].shape[1]
        for some in _batches([width + len(target) for target in targets], batch_size, batch_tokens, None):
            places = torch.tensor([asked[one][0] for one in some], device=model.device)
            labels = pad_sequence([torch.tensor(targets[one]) for one in some], batch_first=True, padding_value=-100)
            labels = labels.to(model.device)
            written = model(
                input_ids=labels.clamp(min=0), attention_mask=torch.cat([mask[places], (labels != -100).to(mask)], 1),
                use_cache=True, **{CACHE: _selected(getattr(read, CACHE), places)},
            ).logits[:, :-1]  # fmt: skip
            logprobs = torch.cat([read.logits[places], written], 1).float().log_softmax(-1)
            chosen = logprobs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
            for one, total in zip(some, (chosen * (labels != -100)).sum(-1).tolist(), strict=True):
                place, number = asked[one]
                found[rows[place]][number] = total
    return found


def _selected(cache: Cache, places: Tensor) -> Cache:
    """A cache of these rows of a batch, some perhaps more than once; the batch's own stays as it is."""
    chosen = copy(cache)
    chosen.layers = [copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(places)
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
    """Ends a row whose last tokens are one block over and over, so that a stuck row doesn't cost the whole bound."""

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
    """Keeps each step's likeliest tokens, among which the search takes its own: the whole table would not fit.

    Args:
        count: Tokens a row that the search looks at in a step; beam search, one for each beam and each end besides.
    """

    def __init__(self, count: int):
        self.count = count
        self.steps: list[tuple[Tensor, Tensor]] = []  # log-probabilities and tokens, (rows × beams, count) each

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        top = scores.float().log_softmax(-1).topk(min(self.count, scores.shape[-1]))
        self.steps.append((top.values, top.indices))
        return scores

    def of(self, tokens: Tensor, beams: Tensor | None) -> Tensor:
        """Each answer token's log-probability, `(rows, steps)`.

        Args:
            tokens: `(rows, steps)`.
            beams: The row that an answer's beam stood in at each step, `(rows, steps)`; None = its own.
        """
        gathered = torch.zeros(tokens.shape, dtype=torch.float32, device=tokens.device)
        for step, (values, indices) in enumerate(self.steps[: tokens.shape[1]]):
            if beams is not None:
                row = beams[:, step].clamp(min=0)
                values, indices = values[row], indices[row]
            there = indices == tokens[:, step, None]
            place = there.long().argmax(-1, keepdim=True)
            # A token that is not there tied with the last one that is.
            gathered[:, step] = torch.where(there, values, values[:, -1:]).gather(-1, place)[:, 0]
        return gathered


def _loop_length(period: int) -> int:
    return period * max(LOOP_TIMES, -(-LOOP_TOKENS // period))


@torch.no_grad()
def _answer(
    model, processor, items, prompts, keywords, max_new_tokens: int, num_beams: int, stop_bias: float | None,
    scored: bool,
) -> list[Answer]:  # fmt: skip
    inputs = _inputs(model, processor, items, prompts, keywords, "left")
    prompt_length = inputs["input_ids"].shape[1]
    tokenizer = processor.tokenizer
    ends = processor.end_ids
    # Every sampling field is set: what is left open would come from the base's generation_config.json.
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
    likeliest = Likeliest((1 + len(ends)) * num_beams)
    if scored:
        processors.append(likeliest)
    output = model.generate(
        **inputs, generation_config=config, stopping_criteria=criteria, logits_processor=processors
    )  # fmt: skip
    rows = output.sequences[:, prompt_length:]
    logprobs = likeliest.of(rows, getattr(output, "beam_indices", None)).tolist() if scored else [()] * len(rows)
    found = []
    for tokens, row in zip(rows.tolist(), logprobs, strict=True):
        end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        tokens = trim_loop(tokens[:end])
        span = processor.answer_span(tokens)
        text = tokenizer.decode(tokens[span], skip_special_tokens=True).strip()
        pieces = [tokenizer.decode([token], skip_special_tokens=True) for token in tokens[span]] if scored else ()
        found.append(Answer(text, tuple(pieces), tuple(row[: len(tokens)][span])))
    return found


def _inputs(model, processor, items, prompts, keywords, padding_side: str) -> dict[str, Tensor]:
    states = _states(model, processor, items)
    frames = [len(one) for one in states]
    batch = processor(prompts, keywords, frames=frames, padding_side=padding_side)
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
    if any(len(frames) for frames in states):
        inputs["speech_states"] = pad_sequence(states, batch_first=True).to(model.device)
        counts = torch.tensor([len(frames) for frames in states])
        inputs["speech_mask"] = (torch.arange(int(counts.max())) < counts[:, None]).to(model.device)
    return inputs


def _states(model, processor, items: Sequence[Speech]) -> list[Tensor]:
    """Each row's encoded speech; an empty tensor where there is none."""
    waves = {row: item for row, item in enumerate(items) if isinstance(item, np.ndarray)}
    states = dict(zip(waves, encode(model, processor, list(waves.values()), len(items)), strict=True))
    states |= {row: item for row, item in enumerate(items) if isinstance(item, Tensor)}
    known = next(iter(states.values()), None)
    empty = known.new_zeros(0, known.shape[-1]) if known is not None else torch.zeros(0, 1)
    return [states.get(row, empty) for row in range(len(items))]


def _lengths(processor, items, prompts, keywords) -> list[int]:
    """Tokens of each row's prompt, with its list and speech."""
    return [
        processor.prompt_length(prompt, words, _frames(processor, item))
        for item, prompt, words in zip(items, prompts, keywords, strict=True)
    ]


def _frames(processor, item: Speech) -> int:
    if item is None:
        return 0
    return len(item) if isinstance(item, Tensor) else processor.frames(len(item))


def _batches(lengths: Sequence[int], batch_size: int, budget: int, label: str | None) -> Iterator[list[int]]:
    """Row numbers a batch, longest rows first: what doesn't fit in memory shows at once, and padding stays small."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        # The first row of a batch is its longest.
        if batches and len(batches[-1]) < batch_size and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    yield from track(batches, len(batches), label) if label else batches
