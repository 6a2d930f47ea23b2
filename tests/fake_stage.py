"""Fake stage model with given answers, to test how the two stages process them."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import torch

from sap2.inference import Answer
from sap2.inference.index import Vocabulary

FRAME = 640  # samples per frame of states
LETTERS = " abcdefghijklmnopqrstuvwxyz"  # tokens, from 1; 0 is CTC's blank


class LetterTokenizer:
    """Tokenizer with one token per letter."""

    backend_tokenizer = SimpleNamespace(to_str=lambda: LETTERS)

    def __call__(self, texts, add_special_tokens=False):
        return {"input_ids": [[1 + max(LETTERS.find(letter), 0) for letter in text.lower()] for text in texts]}


class FakeStage:
    """Fake model with given answers, tags and scores; it records its inputs.

    Args:
        answer: A segment's answer, by the number of its frames and its list.
        odds: The log-odds of keywords; with them the stage tags.
        logprob: The log-probability of a text, by text and list.
        heard: What the frame scores say, by the number of frames.
    """

    def __init__(
        self,
        answer: Callable[[int, list[str]], str] = lambda frames, words: "none",
        odds: dict[str, float] | None = None,
        logprob: Callable[[str, list[str]], float] = lambda text, words: 0.0,
        method: str = "tpi",
        encoder: str = "base",
        segment_limit: float = 2.0,
        spelling: str = "as-given",
        heard: Callable[[int], str] = lambda frames: "",
    ):
        self.answer, self.odds, self.logprob = answer, odds, logprob
        self.method, self.encoder, self.segment_limit, self.tagging = method, encoder, segment_limit, odds is not None
        self.spelling, self.heard = spelling, heard
        self.processor, self.phonemes = SimpleNamespace(tokenizer=LetterTokenizer()), ()
        self.vocabulary = Vocabulary(self.processor, spelling)
        self.lists: list[list[str]] = []  # of each call
        self.prompts: list[str] = []
        self.options: list[dict] = []
        self.weighed: list[tuple[str, list[str]]] = []  # text and list
        self.encoded = 0

    def encode(self, waves, batch_size, label=None):
        self.encoded += len(waves)
        return [torch.zeros(len(wave) // FRAME, 1) for wave in waves]

    def answers(self, states, prompts, keywords, search, **options):
        assert len(states) == len(prompts) == len(keywords)
        self.lists += [list(words) for words in keywords]
        self.prompts += prompts
        self.options.append(options | {"search": search})
        texts = [self.answer(len(frames), list(words)) for frames, words in zip(states, keywords, strict=True)]
        # Tokens of one letter; a digit in a keyword sets how uncertain the answer is.
        return [Answer(text, tuple(text), tuple(-float(c) if c.isdigit() else 0.0 for c in text)) for text in texts]

    def tag(self, states, prompt, keywords: Sequence[Sequence[str]], search, label=None):
        self.lists += [list(words) for words in keywords]
        return [{word: self.odds[word] for word in words} for words in keywords]

    def log_likelihoods(self, states, prompts, keywords, texts, search):
        self.prompts += prompts
        rows = [[(text, list(words)) for text in several] for several, words in zip(texts, keywords, strict=True)]
        self.weighed += sum(rows, [])
        return [[self.logprob(*pair) for pair in row] for row in rows]

    def frame_scores(self, states):
        """Return frame scores: a frame per letter, each followed by a blank, and blanks to the end."""
        (tokens,) = LetterTokenizer()([self.heard(len(states))])["input_ids"]
        scores = np.full((max(len(states), 2 * len(tokens)), 1 + len(LETTERS)), -8.0, np.float32)
        scores[range(0, 2 * len(tokens), 2), tokens] = 0.0
        scores[1 : 2 * len(tokens) : 2, 0] = scores[2 * len(tokens) :, 0] = 0.0
        return scores, 0
