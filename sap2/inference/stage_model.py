"""A speech language model in one of the two stages: with the stage's adapter, or as the bare base."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor

from sap2.constants import SAMPLE_RATE
from sap2.errors import ModelError
from sap2.inference.decoding import Answer, answers, encode, likelihoods, tags
from sap2.inference.index import Vocabulary
from sap2.inference.joint import IMPOSSIBLE, FrameScores, text_likelihoods
from sap2.model.ctc import PHONEME_BLANK, CtcHead
from sap2.settings import SearchSettings

__all__ = ["BARE_ENCODER", "StageModel"]

BARE_ENCODER = "base"  # name of an encoder that no adapter changes
LEAST_BLANK = 0.02  # mean probability of CTC's blank; a base that was trained without CTC gives about 1 / tokens


class StageModel:
    """A model whose adapter is active while it is used.

    Several stage models may share a model: a base with the adapters of pruner and recogniser gives three, including the
    bare base.

    Args:
        model: A base, or a base wrapped with adapters. An unwrapped model is used directly.
        processor: Configured for the model's window.
        adapter: The adapter's name; None or an unloaded name = the bare base.
        encoder: Name of its encoder if not the base's; stage models with the same name share encoded audio.
        ctc: The base's CTC head, if it has one; unused where the adapter changes the encoder.
    """

    def __init__(
        self,
        model,
        processor,
        adapter: str | None = None,
        encoder: str | None = None,
        ctc: CtcHead | None = None,
    ):
        self.model, self.processor = model.eval(), processor
        adapters = model.peft_config if isinstance(model, PeftModel) else {}
        self.adapter = adapter if adapter in adapters else None
        self.encoder: str = encoder or (self.adapter if self.adapter and self._encoder_adapted() else BARE_ENCODER)
        self.ctc = ctc if self.encoder == BARE_ENCODER else None

    @property
    def phonemes(self) -> tuple[str, ...]:
        """Phonemes that the CTC head knows; none without a head."""
        return self.ctc.phonemes if self.ctc else ()

    @property
    def method(self) -> str:
        """The method the model was trained with: `tpi`, `pc` or `jpi`."""
        return self.model.config.method

    @property
    def tagging(self) -> bool:
        """Whether the model was trained to tag keywords as spoken or not."""
        return self.model.config.tagging > 0

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """How the base reads keywords: spelling, and tokens or phonemes."""
        return Vocabulary(self.processor, self.spelling, self.phonemes)

    @property
    def spelling(self) -> str:
        """How the base reads keywords, `folded` or `as-given`: see `sap2.spelling`."""
        return self.processor.spelling

    @property
    def frame_seconds(self) -> float:
        """Seconds of audio per frame of states (0.04 for Whisper's encoder and a pooling of 2)."""
        return self.processor.mel_frames_per_frame * self.processor.feature_extractor.hop_length / SAMPLE_RATE

    @property
    def segment_limit(self) -> float:
        """Maximum audio of the encoder in seconds."""
        extractor, limit = self.processor.feature_extractor, self.model.mel_limit
        samples = extractor.n_samples if limit is None else min(limit * extractor.hop_length, extractor.n_samples)
        return samples / SAMPLE_RATE

    def encode(self, waves: Sequence[np.ndarray], batch_size: int, label: str | None = None) -> list[Tensor]:
        """Run the encoder: see `sap2.inference.decoding.encode`."""
        with self.switched_on():
            return encode(self.model, self.processor, waves, batch_size, label=label)

    def answers(
        self,
        states: Sequence[Tensor],
        prompts: Sequence[str],
        keywords: Sequence[Sequence[str]],
        search: SearchSettings,
        *,
        selecting: bool = False,
        stop_bias: float = 0.0,
        transcribing: bool = False,
        scored: bool = False,
        label: str | None = None,
    ) -> list[Answer]:
        """Answer a prompt about each utterance's speech.

        Args:
            states: Encoded speech, `(frames, encoder_hidden)` each.
            selecting: Constrain each answer to its list, with `stop_bias`, and score its tokens.
            transcribing: The answers are transcripts; they are decoded jointly with the base's CTC head, if any.
            scored: Score tokens also without `selecting`.
        """
        with self.switched_on():
            return answers(
                self.model, self.processor, states, prompts, keywords, batch_size=search.batch_size,
                batch_tokens=search.batch_tokens, max_new_tokens=search.max_new_tokens, num_beams=search.num_beams,
                selecting=selecting, stop_bias=stop_bias, scored=scored or selecting, label=label,
                frame_scores=self._scores_of(search) if transcribing else None,
            )  # fmt: skip

    def tag(
        self,
        states: Sequence[Tensor],
        prompt: str,
        keywords: Sequence[Sequence[str]],
        search: SearchSettings,
        label: str | None = None,
    ) -> list[dict[str, float]]:
        """Return the log-odds that each keyword of each list is spoken."""
        # The wrapped model, which contains the adapter's layers: PEFT's wrapper lacks the method.
        model = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        with self.switched_on():
            return tags(
                model, self.processor, states, prompt, keywords,
                batch_size=search.batch_size, batch_tokens=search.batch_tokens, label=label,
            )  # fmt: skip

    def log_likelihoods(
        self,
        states: Sequence[Tensor],
        prompts: Sequence[str],
        keywords: Sequence[Sequence[str]],
        texts: Sequence[Sequence[str]],
        search: SearchSettings,
    ) -> list[list[float]]:
        """Compute the log-probability of each of an utterance's transcripts.

        It is CTC's alone where the base has a CTC head and `search` uses it, which costs a twelfth of the decoder's and
        tells spoken keywords from others as well: docs/method.md.
        """
        rows = [row for row, several in enumerate(texts) if several]
        scorer = self._scores_of(search)
        with self.switched_on():
            if scorer:
                scored = self._by_ctc(scorer, [states[row] for row in rows], [texts[row] for row in rows])
            else:
                scored = likelihoods(
                    self.model, self.processor, [states[row] for row in rows], [prompts[row] for row in rows],
                    [keywords[row] for row in rows], [texts[row] for row in rows],
                    batch_size=search.batch_size, batch_tokens=search.batch_tokens,
                )  # fmt: skip
        by_row = dict(zip(rows, scored, strict=True))
        return [by_row.get(row, []) for row in range(len(texts))]

    @torch.no_grad()
    def _by_ctc(
        self, scorer: Callable[[Tensor, Tensor], FrameScores], states: Sequence[Tensor], texts: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        scored = []
        for speech, several in zip(states, texts, strict=True):
            speech = speech[None].to(self.model.device)
            frames = scorer(speech, torch.ones(speech.shape[:2], dtype=torch.bool, device=speech.device))
            tokens = [
                [token for token in self.processor.target(text) if token not in self.processor.end_ids]
                for text in several
            ]
            likely = text_likelihoods(frames, [0] * len(tokens), tokens).clamp(min=IMPOSSIBLE)
            scored.append(likely.tolist())
        return scored

    @torch.no_grad()
    def frame_scores(self, states: Tensor) -> tuple[np.ndarray, int]:
        """The log-probability of each unit of `vocabulary` in each frame, `(frames, units)`, and which is CTC's blank.

        Units are the phonemes of the base's CTC head. Without a head they are tokens, by the dot products of projected
        speech with the embeddings of tokens, with which bases of "sap2 base" are trained; their blank is the audio
        placeholder.

        Raises: ModelError: the base was not trained so.
        """
        model: Any = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        if self.ctc:
            head = self.ctc.to(model.device)
            mask = torch.ones(1, len(states), dtype=torch.bool, device=model.device)
            return head(states[None].to(model.device).float(), mask)[1][0].cpu().numpy(), PHONEME_BLANK
        blank = model.config.audio_token_index
        projector = model.model.multi_modal_projector
        with self.switched_on():
            speech = projector(states.to(model.device, projector.linear.weight.dtype))
            scores = model.lm_head(speech).float().log_softmax(-1)
        if len(states) and scores[:, blank].exp().mean() < LEAST_BLANK:
            raise ModelError(
                "pruning.prefilter.method is ctc and the base gives no CTC frame scores: the probability of a blank is "
                f"{scores[:, blank].exp().mean():.2g} on average, expected at least {LEAST_BLANK:g}; set "
                "pruning.prefilter.method=phonetic, or use a base of sap2 base"
            )
        return scores.cpu().numpy(), blank

    def _scores_of(self, search: SearchSettings) -> Callable[[Tensor, Tensor], FrameScores] | None:
        """What computes CTC's frame scores of a batch of states; None if the base has no head, or its weight is 0."""
        if self.ctc is None or search.ctc_weight == 0:
            return None
        head = self.ctc.to(self.model.device)

        def scores(states: Tensor, mask: Tensor) -> FrameScores:
            return FrameScores(head(states.float(), mask)[0], mask, head.blank, search.ctc_weight)

        return scores

    def _encoder_adapted(self) -> bool:
        """Return whether the adapter changes the encoder, as with `freeze_vit: false`."""
        if self.adapter is None:
            return False
        weights = self.model.get_base_model().model.audio_tower.state_dict()
        return any(f".{self.adapter}." in name for name in weights)

    @contextmanager
    def switched_on(self) -> Iterator[None]:
        """Activate the adapter's layers; none for the bare base."""
        if self.adapter is not None:
            self.model.set_adapter(self.adapter, inference_mode=True)
            yield
        elif isinstance(self.model, PeftModel):
            with self.model.disable_adapter():
                yield
        else:
            yield
