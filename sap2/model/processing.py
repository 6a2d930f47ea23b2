"""Conversion of prompts, keyword lists and audio to model inputs: a mixin before a family's stock processor.

The processor emits the pooled length: a `<|context|>` placeholder per window between the context markers, just as an
audio placeholder per frame of speech. So `generate`, its cache and its padding need no change.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AddedToken, BatchFeature, ProcessorMixin

from sap2.constants import SAMPLE_RATE
from sap2.errors import InputError
from sap2.model.configuration import WINDOWS
from sap2.model.modeling import frame_count
from sap2.model.rendered import Rendered, rows_of
from sap2.prompts import TAGS
from sap2.spelling import AS_GIVEN, SPELLINGS

if TYPE_CHECKING:
    StockProcessor = ProcessorMixin
else:
    StockProcessor = object  # a mixin: the family's own processor class follows it

Template = tuple[list[list[int]], list[str]]  # ids around the insertions, and what is inserted between them

# Mel frames of silence after the longest recording: the convolutions' reach, so that results are the same as with
# padding to 30 s.
EDGE = 8
WORD_CACHE = 200_000  # tokenised keywords kept
SPEECH, LIST = "speech", "list"  # what the processor inserts into a prompt
LIST_SETTINGS: dict[str, Any] = {
    "context_start_token": "<|startofcontext|>",
    "context_end_token": "<|endofcontext|>",
    "context_token": "<|context|>",
    # As in `SapFields`; must equal the model's.
    "window": 2,
    "windows": "keyword",
    "separator": ", ",
    # Whether the first keyword of a list and an answer start with a blank, so that a word has the same tokens
    # everywhere. Follows the base's pretraining; False for public bases.
    "leading_blank": False,
    # Spelling of keywords in the base's pretraining, see `sap2.spelling`. The stages convert lists to it; the processor
    # does not.
    "spelling": AS_GIVEN,
}


class NoPlaceholderError(InputError):
    """A prompt with a recording has no audio placeholder, as a text model's chat template renders it."""


class SapProcessor(StockProcessor):
    """A family's processor plus the keyword list.

    Families that differ from Qwen2-Audio override: `end_token`, which ends an answer; `answer_marker`, a token that the
    base writes before the answer; `chat`, the conversation of a prompt; `own_length`, False for an encoder whose output
    depends on padding, so that every recording is padded to 30 s; `mel_frames_per_frame` and `frame_count`;
    `mel_frames` and `features`, if the mel is not Whisper's.
    """

    audio_token: str
    audio_token_id: int
    context_start_token: str
    context_end_token: str
    context_token: str
    window: int
    windows: str
    separator: str
    leading_blank: bool
    spelling: str
    end_token = "<|im_end|>"
    answer_marker: str | None = None
    own_length = True
    mel_frames_per_frame: float = 4
    frame_count = staticmethod(frame_count)

    def set_up(self, **settings: Any) -> None:
        """Apply the keyword list's settings and add its tokens to the tokenizer; every family's constructor calls this.

        Args:
            settings: Values for the names in `LIST_SETTINGS`; None = the default there.
        Raises: ValueError: a setting is out of range.
        """
        for name, default in LIST_SETTINGS.items():
            setattr(self, name, default if settings[name] is None else settings[name])
        if self.window < 1 or self.windows not in WINDOWS:
            raise ValueError(
                f"window is {self.window}, expected at least 1, and windows is {self.windows!r}, expected one of "
                f"{WINDOWS}"
            )
        if self.spelling not in SPELLINGS:
            raise ValueError(f"spelling is {self.spelling!r}, expected one of {SPELLINGS}")
        tokenizer = self.tokenizer
        # Tokens the base's tokenizer lacked; `load_model` adds their embeddings.
        self.added_tokens = [token for token in self.context_tokens if token not in tokenizer.get_vocab()]
        if self.added_tokens:
            tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in self.added_tokens])
        # Few prompts and recurring keywords: each is tokenised once.
        self._prompts: dict[tuple[str, bool], Template] = {}
        self._words: dict[str, list[int]] = {}
        self._middles: dict[str, int] = {}

    @property
    def context_tokens(self) -> tuple[str, str, str]:
        """Start marker, end marker, placeholder."""
        return self.context_start_token, self.context_end_token, self.context_token

    @property
    def added_markers(self) -> list[str]:
        """Markers that the base's tokenizer lacked, without the placeholder, whose embedding is never used."""
        return [token for token in self.added_tokens if token != self.context_token]

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return self.tokenizer.convert_tokens_to_ids(self.end_token)

    @property
    def pad_id(self) -> int:
        """The token that pads a batch; never the audio placeholder, which the model would replace by speech."""
        return next(id for id in (self.tokenizer.pad_token_id, self.end_id) if id not in (None, self.audio_token_id))

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: its own end token, the end of a text, and the padding."""
        return frozenset({self.end_id, self.tokenizer.eos_token_id, self.pad_id} - {None})

    @property
    def tag_ids(self) -> tuple[int, int]:
        """The tokens that tag a keyword as not spoken and as spoken: the first pair in which the two tags differ."""
        return next(pair for pair in zip(*map(self._tokenise_plain, TAGS), strict=False) if pair[0] != pair[1])

    @property
    def model_input_names(self) -> list[str]:
        return [*super().model_input_names, "context_ids", "context_windows"]

    def __call__(
        self,
        prompts: Sequence[str] | None = None,
        keywords: Sequence[Sequence[str]] | None = None,
        audio: Sequence[np.ndarray | None] | None = None,
        frames: Sequence[int] | None = None,
        targets: Sequence[str] | None = None,
        padding_side: str | None = None,
        *,
        text: str | Sequence[str] | None = None,
        **options: Any,
    ) -> BatchFeature:
        """Build a batch.

        Args:
            prompts: A prompt per row, from `sap2.prompts`, each with at most one empty marker pair for its list.
            keywords: A list per row; None = no lists. Special tokens spelt in a keyword are read as plain text.
            audio: Mono float waveforms at 16 kHz, at most 30 s; None = no audio in that row.
            frames: Instead of `audio`, numbers of frames already encoded (see `encode_speech`); 0 = no audio in that
                row.
            targets: The answers, for training; plain text as well.
            padding_side: `left` or `right`; None = `right` with targets, `left` without.
            text: Instead of `prompts`, chats rendered by a template: see `sap2.model.rendered`.
            options: Other arguments of stock's processors; checked, without effect.
        Returns: input_ids, attention_mask, context_ids, context_windows; with audio input_features,
            feature_attention_mask; with targets labels, which are -100 outside the answer and its `<|im_end|>`.
        Raises: InputError: audio is too short, too long, empty or not finite; a prompt has two context spans, or none
            for its keywords; lengths differ.
        """
        if text is not None:
            prompts, keywords, audio = rows_of(self, text, keywords, audio, options)
        elif prompts is None or options:
            raise TypeError(f"expected prompts or text, got {', '.join(options) or 'neither'}")
        rows = len(prompts)
        keywords = [[]] * rows if keywords is None else keywords
        for name, values in (("keywords", keywords), ("audio", audio), ("frames", frames), ("targets", targets)):
            if values is not None and len(values) != rows:
                raise InputError(f"{len(values)} {name} for {rows} prompts; give as many as prompts")
        if audio is not None and frames is not None:
            raise InputError("got audio and frames; give frames only for speech that is already encoded")
        features = self.features(audio) if audio is not None else {}
        if audio is not None:
            frames = [int(n) for n in self.frame_count(features["feature_attention_mask"].sum(-1))]
        frames = [0] * rows if frames is None else frames

        contexts = [self.tokenise_context(words) for words in keywords]
        inputs = [
            self._expand(prompt, count, windows)
            for prompt, count, (_, windows) in zip(prompts, frames, contexts, strict=True)
        ]
        labels = None
        if targets is not None:
            answers = [self.target(target) for target in targets]
            labels = [[-100] * len(ids) + answer for ids, answer in zip(inputs, answers, strict=True)]
            inputs = [ids + answer for ids, answer in zip(inputs, answers, strict=True)]
        side = padding_side or ("left" if targets is None else "right")
        batch = {
            "input_ids": _pad(inputs, self.pad_id, side),
            "attention_mask": _pad([[1] * len(ids) for ids in inputs], 0, side),
            # Only window -1 marks padding of the context: id 0 is a token like any other.
            "context_ids": _pad([ids for ids, _ in contexts], 0, "right"),
            "context_windows": _pad([windows for _, windows in contexts], -1, "right"),
            **features,
        }
        if labels is not None:
            batch["labels"] = _pad(labels, -100, side)
        return BatchFeature(batch)

    def features(self, audio: Sequence[np.ndarray | None]) -> dict[str, torch.Tensor]:
        """Compute log-mel features at the batch's own length.

        Returns: input_features, `(batch, mels, mel_frames)`, and feature_attention_mask, `(batch, mel_frames)`.
        """
        extractor = self.feature_extractor
        waves = [np.zeros(0, np.float32) if wave is None else self._check(wave, row) for row, wave in enumerate(audio)]
        hop = extractor.hop_length
        mel_frames = [self.mel_frames(len(wave)) for wave in waves]
        most = extractor.nb_max_frames
        length = min(max(mel_frames, default=0) + EDGE, most) if self.own_length else most
        padded = np.zeros((len(waves), length * hop), np.float32)
        for row, wave in enumerate(waves):
            padded[row, : len(wave)] = wave
        mel = extractor(padded, sampling_rate=SAMPLE_RATE, padding=False, truncation=False, return_tensors="np")
        mask = np.arange(length) < np.array(mel_frames)[:, None]
        return {
            "input_features": torch.from_numpy(np.asarray(mel["input_features"], np.float32)),
            "feature_attention_mask": torch.from_numpy(mask).long(),
        }

    def mel_frames(self, samples: int) -> int:
        """Return the number of mel frames of a recording."""
        return -(-samples // self.feature_extractor.hop_length)

    def frames(self, samples: int) -> int:
        """Return the number of frames, and so of audio placeholders, of a recording."""
        return int(self.frame_count(self.mel_frames(samples)))

    def chat(self, prompt: str, has_audio: bool) -> list[dict[str, Any]]:
        """Return the conversation of a prompt: a single user turn, the speech before the text."""
        content = [{"type": "audio", "audio_url": ""}] if has_audio else []
        return [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]

    def answer_span(self, tokens: Sequence[int]) -> slice:
        """Return the answer's span in generated tokens: the tokens after the answer marker, or all without a marker."""
        marker = self.tokenizer.convert_tokens_to_ids(self.answer_marker) if self.answer_marker else None
        return slice(tokens.index(marker) + 1 if marker in tokens else 0, None)

    def target(self, text: str) -> list[int]:
        """Return the tokens of an answer with its end token."""
        return [*self._tokenise_plain(" " + text if self.leading_blank else text), self.end_id]

    def prompt_length(self, prompt: str, keywords: Sequence[str], frames: int) -> int:
        """Return the number of tokens of a prompt with its list and speech."""
        speech, windows = min(frames, 1), self._window_count(keywords)
        return len(self._expand(prompt, speech, [0] if windows else [])) - speech - min(windows, 1) + frames + windows

    def tokenise_context(self, keywords: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return the list's tokens and each token's window.

        The list reads `k1, k2, k3`. The separator's visible part (the comma) belongs to the keyword before it, its
        blank to the next keyword, as in running text, so that a word has the same tokens here and in a transcript.
        """
        last = len(keywords) - 1
        ids: list[int] = []
        windows: list[int] = []
        for position, word in enumerate(keywords):
            piece = self.tokenise_word(word, first=position == 0, separated=position < last)
            if self.windows == "keyword":
                first = windows[-1] + 1 if windows else 0
                windows += [first + i // self.window for i in range(len(piece))]
            ids += piece
        if self.windows == "fixed":
            windows = [i // self.window for i in range(len(ids))]
        return ids, windows

    def _window_count(self, keywords: Sequence[str]) -> int:
        """Return the number of windows that `tokenise_context` makes of a list; fast enough to plan a million lists."""
        if not keywords:
            return 0
        last = len(keywords) - 1
        counts = [self._middle(word) for word in keywords]  # corrected below for the first and the last
        for end in {0, last}:
            counts[end] = len(self.tokenise_word(keywords[end], first=end == 0, separated=end < last))
        if self.windows == "fixed":
            return -(-sum(counts) // self.window)
        return sum(-(-count // self.window) for count in counts)

    def _middle(self, word: str) -> int:
        """Return the number of tokens of a keyword in the middle of a list."""
        count = self._middles.get(word)
        if count is None:
            if len(self._middles) > WORD_CACHE:
                self._middles.clear()
            count = self._middles[word] = len(self.tokenise_word(word, first=False, separated=True))
        return count

    def keyword_positions(self, input_ids: torch.Tensor, keywords: Sequence[Sequence[str]]) -> torch.Tensor:
        """Return the position in `input_ids` of each listed keyword's last window, `(batch, keywords)`; -1 = padding.

        Args:
            input_ids: Built from these lists.
        """
        context_id = self.tokenizer.convert_tokens_to_ids(self.context_token)
        starts = (input_ids == context_id).int().argmax(-1).tolist()
        positions = [
            [start + end for end in self.keyword_ends(words)] for start, words in zip(starts, keywords, strict=True)
        ]
        return _pad(positions, -1, "right")

    def keyword_ends(self, keywords: Sequence[str]) -> list[int]:
        """Return the index of each keyword's last window among the list's windows."""
        windows, last = self.tokenise_context(keywords)[1], len(keywords) - 1
        tokens = accumulate(
            len(self.tokenise_word(word, first=position == 0, separated=position < last))
            for position, word in enumerate(keywords)
        )
        return [windows[count - 1] for count in tokens]

    def tokenise_word(self, word: str, first: bool, separated: bool = False) -> list[int]:
        """Return a keyword's tokens in a list.

        Args:
            first: Whether it is the list's first keyword.
            separated: Whether another keyword follows, so that the separator's visible part is included.
        """
        mark, blank = self.separator.rstrip(), self.separator[len(self.separator.rstrip()) :]
        lead = blank if self.leading_blank or not first else ""
        return self._word(lead + " ".join(word.split()) + (mark if separated else ""))

    def _expand(self, prompt: str, frames: int, windows: list[int]) -> list[int]:
        """Return the chat's token ids, with a placeholder per frame and per window."""
        pieces, order = self._template(prompt, frames > 0)
        if windows and LIST not in order:
            raise InputError(f"got keywords, but the prompt has no context markers: {prompt!r}")
        context_id = self.tokenizer.convert_tokens_to_ids(self.context_token)
        fillings = {SPEECH: [self.audio_token_id] * frames, LIST: [context_id] * (windows[-1] + 1 if windows else 0)}
        return [
            *pieces[0],
            *(id for what, piece in zip(order, pieces[1:], strict=True) for id in fillings[what] + piece),
        ]

    def _template(self, prompt: str, has_audio: bool) -> Template:
        if isinstance(prompt, Rendered):
            return self._tokenise_template(prompt, has_audio)
        if (prompt, has_audio) not in self._prompts:
            self._prompts[prompt, has_audio] = self._tokenise_template(prompt, has_audio)
        return self._prompts[prompt, has_audio]

    def _word(self, text: str) -> list[int]:
        if len(self._words) > WORD_CACHE:
            self._words.clear()
        if text not in self._words:
            self._words[text] = self._tokenise_plain(text)
        return self._words[text]

    def _tokenise_template(self, prompt: str, has_audio: bool) -> Template:
        """Return the chat's ids, split where speech or the list is inserted, and the kind of each insertion."""
        text = prompt if isinstance(prompt, Rendered) else self._render(prompt, has_audio)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        start, end = (self.tokenizer.convert_tokens_to_ids(token) for token in self.context_tokens[:2])
        if ids.count(start) > 1 or ids.count(end) > 1:
            raise InputError(f"the prompt has {ids.count(start)} context spans, expected at most 1: {prompt!r}")
        cuts: dict[str, tuple[int, int]] = {}  # what is inserted: end of the ids before it, start of the ids after it
        if has_audio:
            if self.audio_token_id not in ids:
                raise NoPlaceholderError(f"the prompt has no {self.audio_token} for its recording: {prompt!r}")
            audio = ids.index(self.audio_token_id)
            cuts[SPEECH] = (audio, audio + 1)
        if start in ids or end in ids:
            if start not in ids or end not in ids or ids.index(end) != ids.index(start) + 1:
                raise InputError(
                    f"expected an empty pair {''.join(self.context_tokens[:2])} in the prompt, got {prompt!r}"
                )
            cuts[LIST] = (ids.index(end), ids.index(end))
        order = sorted(cuts, key=cuts.__getitem__)
        ends = [*(cuts[what][0] for what in order), len(ids)]
        begins = [0, *(cuts[what][1] for what in order)]
        return [ids[begin:stop] for begin, stop in zip(begins, ends, strict=True)], order

    def _render(self, prompt: str, has_audio: bool) -> str:
        return self.tokenizer.apply_chat_template(
            self.chat(prompt, has_audio), chat_template=self.chat_template, tokenize=False, add_generation_prompt=True
        )

    def _tokenise_plain(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def _check(self, wave: np.ndarray, row: int) -> np.ndarray:
        wave = np.asarray(wave, np.float32)
        seconds, limit = wave.size / SAMPLE_RATE, self.feature_extractor.n_samples
        frame = round(self.mel_frames_per_frame * self.feature_extractor.hop_length / SAMPLE_RATE, 3)
        if wave.ndim != 1:
            raise InputError(f"audio of row {row} has shape {wave.shape}, expected one channel, (samples,)")
        if not wave.size or self.frames(wave.size) < 1:
            raise InputError(f"audio of row {row} is {seconds:.3f} s, too short for one frame ({frame:g} s)")
        if wave.size > limit:
            most = limit / SAMPLE_RATE
            raise InputError(f"audio of row {row} is {seconds:.1f} s, at most {most:.0f} s; split it first")
        if not np.isfinite(wave).all():
            raise InputError(f"audio of row {row} holds values that are not finite numbers; decode it again")
        return wave


def _pad(rows: list[list[int]], value: int, side: str) -> torch.Tensor:
    width = max(map(len, rows), default=0)
    padded = torch.full((len(rows), width), value, dtype=torch.long)
    for row, values in enumerate(rows):
        if values:
            span = slice(0, len(values)) if side == "right" else slice(width - len(values), width)
            padded[row, span] = torch.tensor(values)
    return padded
