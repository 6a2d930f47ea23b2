"""A tiny random Qwen2-Audio folder: config, safetensors, tokenizer, feature extractor and chat template."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)

from sap2.data.speech import Synthesiser

# Matrices this small are slower on several threads, much slower when the cores are busy.
torch.set_num_threads(1)

CONTEXT_TOKENS = ["<|startofcontext|>", "<|endofcontext|>", "<|context|>"]
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"]
SENTENCES = [
    "Transcribe speech to text according to keywords may appear in the utterance. Possible keywords are: none",
    "Select keywords that may appear in the speech from the following keywords list: Kathryn Meyer, Maier, Myer",
    "today we speak about the theorem that kathryn maier proved in the lecture on graphs",
    "user assistant Audio 1: Selected keywords are Transcription system You are a helpful assistant.",
]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'audio' %}Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny_base(
    directory: str | Path, *, with_context_tokens: bool = True, tie: bool = True, seed: int = 0, positions: int = 1500
) -> Path:
    """Save a random base of 2 + 2 layers, hidden 32, as the stock Qwen2-Audio class does; return its folder.

    Args:
        with_context_tokens: Whether the tokenizer already knows the context markers and the placeholder.
        tie: Whether the text model's head is its embedding table, as in the embedded base.
        positions: The encoder's length limit, 20 ms each; below 1,500 the feature extractor's limit shrinks with it.
    """
    directory = Path(directory)
    tokenizer = tiny_tokenizer(SPECIAL_TOKENS + (CONTEXT_TOKENS if with_context_tokens else []))
    seconds = positions // 50
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=seconds)
    processor = Qwen2AudioProcessor(extractor, tokenizer, chat_template=TEMPLATE)
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder", "num_mel_bins": 80, "d_model": 16, "encoder_layers": 2,
            "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "max_source_positions": positions,
        },
        text_config={
            "model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "tie_word_embeddings": tie,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config)
        draw_weights(model)
        if tie:
            model.lm_head.weight.data.copy_(model.get_input_embeddings().weight)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


@cache
def _sentence() -> np.ndarray:
    return Synthesiser().speak("we speak and speak about a theorem and its proof and never make a pause", "en-us")


def spoken(seconds: float, seed: int = 0) -> np.ndarray:
    """Return synthetic speech of this duration, float32 mono at 16 kHz."""
    return np.resize(np.roll(_sentence(), -7000 * seed), round(seconds * 16_000))


def tone(seconds: float, seed: int = 0) -> np.ndarray:
    """Return a noisy tone of changing pitch, float32 mono at 16 kHz, different for each seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    pitch = 150 + 100 * rng.random() + 50 * np.sin(2 * np.pi * (1 + 3 * rng.random()) * time)
    wave = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / 16_000) + 0.02 * rng.standard_normal(len(time))
    return wave.astype(np.float32)


@torch.no_grad()
def draw_weights(model: torch.nn.Module) -> None:
    """Draw matrices at the scales of trained weights: at the initial 0.02 all answers would be equal."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            weight.normal_(std=0.5 if "embed_tokens" in name else 3 * weight[0].numel() ** -0.5)


def scaled(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Return the model with weights of `draw_weights`, drawn from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        draw_weights(model)
    return model


def tiny_tokenizer(special: list[str], **named: str) -> Qwen2Tokenizer:
    """Return a byte-level BPE tokenizer with special tokens; `named` tokens are attributes too, as `audio_token`."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(SENTENCES, trainer)
    bpe = json.loads(backend.to_str())["model"]
    tokenizer = Qwen2Tokenizer(vocab=bpe["vocab"], merges=[tuple(pair) for pair in bpe["merges"]], **named)
    tokenizer.add_special_tokens({"extra_special_tokens": special[1:]})
    return tokenizer
