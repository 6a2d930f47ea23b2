"""Prompts, keyword lists and audio to the model's inputs.

The processor already emits the pooled length: between the context markers stands one `<|context|>` placeholder a
    window, as
one `<|AUDIO|>` stands for each frame. So `generate`, its cache and its padding stay stock.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from transformers import AddedToken, AutoProcessor, BatchFeature, Qwen2AudioProcessor

from sap2.constants import SAMPLE_RATE
from sap2.errors import InputError
from sap2.model.configuration import WINDOWS, SapQwen2AudioConfig
from sap2.model.modeling import frame_count
from sap2.model.rendered import Rendered, rows_of
from sap2.prompts import TAGS
from sap2.spelling import AS_GIVEN, SPELLINGS

# Mel frames of true silence behind the longest recording: the convolutions' reach, so that nothing differs from a 30 s
# padding.
EDGE = 8
WORD_CACHE = 200_000  # tokenised keywords kept


class SapQwen2AudioProcessor(Qwen2AudioProcessor):
    """Qwen2-Audio's processor plus the keyword list.

    Args:
        window, windows, separator: As in `SapQwen2AudioConfig`; must be those the model pools with.
        leading_blank: Whether the first keyword of a list and an answer start with a blank, so that a word has one
            tokenisation wherever it stands; what the base was pretrained with (Qwen2-Audio itself: False).
        spelling: How the base reads keywords, by what it was pretrained with: see `sap2.spelling`. The stages bring
            lists into that form; here nothing is changed.
    """

    def __init__(
        self,
        feature_extractor=None,
        tokenizer=None,
        chat_template=None,
        audio_token="<|AUDIO|>",
        audio_bos_token="<|audio_bos|>",
        audio_eos_token="<|audio_eos|>",
        context_start_token="<|startofcontext|>",
        context_end_token="<|endofcontext|>",
        context_token="<|context|>",
        window=2,
        windows="keyword",
        separator=", ",
        leading_blank=False,
        spelling=AS_GIVEN,
    ):
        super().__init__(
            feature_extractor,
            tokenizer,
            chat_template=chat_template,  # never the tokenizer's, which stock does not look at either
            audio_token=audio_token,
            audio_bos_token=audio_bos_token,
            audio_eos_token=audio_eos_token,
        )
        if window < 1 or windows not in WINDOWS:
            raise ValueError(f"window is {window} and windows {windows!r}, expected 1 or more and one of {WINDOWS}")
        if spelling not in SPELLINGS:
            raise ValueError(f"spelling is {spelling!r}, expected one of {SPELLINGS}")
        self.context_start_token, self.context_end_token, self.context_token = (
            context_start_token, context_end_token, context_token,
        )  # fmt: skip
        self.window, self.windows, self.separator, self.leading_blank = window, windows, separator, leading_blank
        self.spelling = spelling
        # Tokens the base's tokenizer lacked: `load_model` gives them embeddings.
        self.added_tokens = [token for token in self.context_tokens if token not in tokenizer.get_vocab()]
        if self.added_tokens:
            tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in self.added_tokens])
        # Prompts are few and keywords come again and again: both are tokenised once.
        self._prompts: dict[tuple[str, bool], tuple] = {}
        self._words: dict[str, list[int]] = {}
        self._middles: dict[str, int] = {}

    @property
    def context_tokens(self) -> tuple[str, str, str]:
        """Start marker, end marker, placeholder."""
        return self.context_start_token, self.context_end_token, self.context_token

    @property
    def added_markers(self) -> list[str]:
        """Markers that the base's tokenizer lacked; without the placeholder, whose embedding nothing reads."""
        return [token for token in self.added_tokens if token != self.context_token]

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return self.tokenizer.convert_tokens_to_ids("<|im_end|>")

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens after which nothing of an answer follows: its own end, and that of a text, which pads batches."""
        ends = {self.end_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id}
        return frozenset(ends - {None, self.audio_token_id})

    @property
    def tag_ids(self) -> tuple[int, int]:
        """The tokens that tag a keyword as not spoken and as spoken: the first in which the two words differ."""
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
        **options,
    ) -> BatchFeature:
        """Build a batch.

        Args:
            prompts: One a row, from `sap2.prompts`, each with at most one bare marker pair where its list goes.
            keywords: One list a row; None = no lists. Plain text: special tokens spelt in it are not parsed.
            audio: Mono float waveforms at 16 kHz, at most 30 s; None = no audio in that row.
            frames: Instead of `audio`, frames of states encoded before (see `encode_speech`); 0 = no audio in that row.
            targets: The answers, in training; plain text as well.
            padding_side: `right` with targets, `left` without, unless said otherwise.
            text: Instead of `prompts`, chats that a template has rendered: see `sap2.model.rendered`.
            options: Of stock's processors, which take these by name; checked, without effect.
        Returns: input_ids, attention_mask, context_ids, context_windows; with audio input_features,
            feature_attention_mask; with targets labels, which are -100 outside the answer and its `<|im_end|>`.
        Raises: InputError: audio too short, too long, empty or not finite; a prompt with two context spans or with
            keywords and no place for them; lengths that differ.
        """
        if text is not None:
            prompts, keywords, audio = rows_of(self, text, keywords, audio, options)
        elif prompts is None or options:
            raise TypeError(f"expected prompts or text, got {', '.join(options) or 'neither'}")
        rows = len(prompts)
        keywords = [[]] * rows if keywords is None else keywords
        for name, values in (("keywords", keywords), ("audio", audio), ("frames", frames), ("targets", targets)):
            if values is not None and len(values) != rows:
                raise InputError(f"{len(values)} {name} for {rows} prompts; give one each")
        if audio is not None and frames is not None:
            raise InputError("got audio and frames; frames are for speech that is already encoded")
        features = self.features(audio) if audio is not None else {}
        if audio is not None:
            frames = [int(n) for n in frame_count(features["feature_attention_mask"].sum(-1))]
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
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end_id
        batch = {
            "input_ids": _pad(inputs, pad, side),
            "attention_mask": _pad([[1] * len(ids) for ids in inputs], 0, side),
            # Padding of the context is told by window -1 alone: id 0 is a token like any other.
            "context_ids": _pad([ids for ids, _ in contexts], 0, "right"),
            "context_windows": _pad([windows for _, windows in contexts], -1, "right"),
            **features,
        }
        if labels is not None:
            batch["labels"] = _pad(labels, -100, side)
        return BatchFeature(batch)

    def features(self, audio: Sequence[np.ndarray | None]) -> dict[str, torch.Tensor]:
        """Log-mel at the batch's own length: input_features `(batch, mels, mel_frames)`, feature_attention_mask."""
        extractor = self.feature_extractor
        waves = [np.zeros(0, np.float32) if wave is None else self._check(wave, row) for row, wave in enumerate(audio)]
        hop = extractor.hop_length
        mel_frames = [-(-len(wave) // hop) for wave in waves]
        length = min(max(mel_frames, default=0) + EDGE, extractor.nb_max_frames)
        padded = np.zeros((len(waves), length * hop), np.float32)
        for row, wave in enumerate(waves):
            padded[row, : len(wave)] = wave
        mel = extractor(padded, sampling_rate=SAMPLE_RATE, padding=False, truncation=False, return_tensors="np")
        mask = np.arange(length) < np.array(mel_frames)[:, None]
        return {
            "input_features": torch.from_numpy(np.asarray(mel["input_features"], np.float32)),
            "feature_attention_mask": torch.from_numpy(mask).long(),
        }

    def frames(self, samples: int) -> int:
        """Frames, and so `<|AUDIO|>` tokens, that a recording of so many samples takes."""
        return frame_count(-(-samples // self.feature_extractor.hop_length))

    def target(self, text: str) -> list[int]:
        """The tokens of an answer, its `<|im_end|>` included."""
        return [*self._tokenise_plain(" " + text if self.leading_blank else text), self.end_id]

    def prompt_length(self, prompt: str, keywords: Sequence[str], frames: int) -> int:
        """Tokens of a prompt with its list and speech in it."""
        speech, windows = min(frames, 1), self._window_count(keywords)
        return len(self._expand(prompt, speech, [0] if windows else [])) - speech - min(windows, 1) + frames + windows

    def tokenise_context(self, keywords: Sequence[str]) -> tuple[list[int], list[int]]:
        """The list's tokens and each token's window.

        The list reads `k1, k2, k3`. The separator's visible part (the comma) belongs to the keyword before it; its
        blank is the first of the next keyword, as in any running text, so that a word has the same tokens here and in a
        transcript.
        """
        last = len(keywords) - 1
        ids: list[int] = []
        windows: list[int] = []
        for place, word in enumerate(keywords):
            piece = self.tokenise_word(word, first=place == 0, separated=place < last)
            if self.windows == "keyword":
                first = windows[-1] + 1 if windows else 0
                windows += [first + i // self.window for i in range(len(piece))]
            ids += piece
        if self.windows == "fixed":
            windows = [i // self.window for i in range(len(ids))]
        return ids, windows

    def _window_count(self, keywords: Sequence[str]) -> int:
        """Windows of a list: as `tokenise_context` makes, without its tokens, for plans of a million lists."""
        if not keywords:
            return 0
        last = len(keywords) - 1
        counts = [self._middle(word) for word in keywords]  # right for all but the first and the last
        for place in {0, last}:
            counts[place] = len(self.tokenise_word(keywords[place], first=place == 0, separated=place < last))
        if self.windows == "fixed":
            return -(-sum(counts) // self.window)
        return sum(-(-count // self.window) for count in counts)

    def _middle(self, word: str) -> int:
        """Tokens of a keyword in the middle of a list."""
        count = self._middles.get(word)
        if count is None:
            if len(self._middles) > WORD_CACHE:
                self._middles.clear()
            count = self._middles[word] = len(self.tokenise_word(word, first=False, separated=True))
        return count

    def keyword_places(self, input_ids: torch.Tensor, keywords: Sequence[Sequence[str]]) -> torch.Tensor:
        """Where each listed keyword has been read: its last window's place in the row, `(batch, keywords)`; -1 = none.

        Args:
            input_ids: As built from these lists.
        """
        context_id = self.tokenizer.convert_tokens_to_ids(self.context_token)
        starts = (input_ids == context_id).int().argmax(-1).tolist()
        places = [
            [start + end for end in self.keyword_ends(words)] for start, words in zip(starts, keywords, strict=True)
        ]
        return _pad(places, -1, "right")

    def keyword_ends(self, keywords: Sequence[str]) -> list[int]:
        """Index, among the list's windows, of each keyword's last one."""
        windows, last = self.tokenise_context(keywords)[1], len(keywords) - 1
        tokens = accumulate(
            len(self.tokenise_word(word, first=place == 0, separated=place < last))
            for place, word in enumerate(keywords)
        )
        return [windows[count - 1] for count in tokens]

    def tokenise_word(self, word: str, first: bool, separated: bool = False) -> list[int]:
        """A keyword's tokens, as the first or a later one of a list, with the mark before the next one or without."""
        mark, blank = self.separator.rstrip(), self.separator[len(self.separator.rstrip()) :]
        lead = blank if self.leading_blank or not first else ""
        return self._word(lead + " ".join(word.split()) + (mark if separated else ""))

    def _expand(self, prompt: str, frames: int, windows: list[int]) -> list[int]:
        """Token ids of the chat with one placeholder a frame and one a window."""
        before_audio, before_list, after = self._template(prompt, frames > 0)
        if after is None:
            if windows:
                raise InputError(f"got keywords, but the prompt has no context markers for them: {prompt!r}")
            after = ()
        context_id = self.tokenizer.convert_tokens_to_ids(self.context_token)
        count = windows[-1] + 1 if windows else 0
        return [*before_audio, *[self.audio_token_id] * frames, *before_list, *[context_id] * count, *after]

    def _template(self, prompt: str, has_audio: bool) -> tuple:
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

    def _tokenise_template(self, prompt: str, has_audio: bool) -> tuple[list[int], list[int], list[int] | None]:
        """The chat's ids up to the speech, up to the list (start marker included), and after; None = no marker pair."""
        text = prompt if isinstance(prompt, Rendered) else self._render(prompt, has_audio)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        start, end = (self.tokenizer.convert_tokens_to_ids(token) for token in self.context_tokens[:2])
        if ids.count(start) > 1 or ids.count(end) > 1:
            raise InputError(f"the prompt holds {ids.count(start)} context spans, expected one: {prompt!r}")
        audio = ids.index(self.audio_token_id) if has_audio else -1
        before_audio, rest = (ids[:audio], ids[audio + 1 :]) if has_audio else ([], ids)
        if start not in rest and end not in rest:
            return before_audio, rest, None
        if start not in rest or end not in rest or rest.index(end) != rest.index(start) + 1:
            raise InputError(f"the prompt needs a bare marker pair {''.join(self.context_tokens[:2])}: {prompt!r}")
        place = rest.index(end)
        return before_audio, rest[:place], rest[place:]

    def _render(self, prompt: str, has_audio: bool) -> str:
        content = [{"type": "audio", "audio_url": ""}] if has_audio else []
        messages = [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]
        return self.tokenizer.apply_chat_template(
            messages, chat_template=self.chat_template, tokenize=False, add_generation_prompt=True
        )

    def _tokenise_plain(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def _check(self, wave: np.ndarray, row: int) -> np.ndarray:
        wave = np.asarray(wave, np.float32)
        seconds, limit = wave.size / SAMPLE_RATE, self.feature_extractor.n_samples
        if wave.ndim != 1:
            raise InputError(f"audio of row {row} has shape {wave.shape}, expected one channel, (samples,)")
        if self.frames(wave.size) < 1:
            raise InputError(f"audio of row {row} is {seconds:.3f} s, too short for one frame (0.04 s)")
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
            place = slice(0, len(values)) if side == "right" else slice(width - len(values), width)
            padded[row, place] = torch.tensor(values)
    return padded


AutoProcessor.register(SapQwen2AudioConfig, SapQwen2AudioProcessor, exist_ok=True)
