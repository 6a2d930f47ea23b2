"""The embedded base before its pretraining: a small Qwen2-Audio of exactly its architecture, and its processor."""

import json
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2Tokenizer,
    WhisperFeatureExtractor,
)

from sap2.base.whisper import Encoder
from sap2.model import SapQwen2AudioProcessor
from sap2.spelling import FOLDED_POSSESSIVE

__all__ = ["VOCABULARY", "build_model", "build_processor"]

VOCABULARY = 1500  # tokens, special ones not counted
MELS = 80
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>",
    "<|startofcontext|>", "<|endofcontext|>", "<|context|>",
)  # fmt: skip
# Qwen2-Audio-Instruct's, without the system turn: at this size every token of every prompt counts.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'audio' %}Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_processor(texts: Iterable[str]) -> SapQwen2AudioProcessor:
    """Whisper's feature extractor and a byte-level BPE tokenizer trained on `texts`."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(texts, trainer)
    bpe = json.loads(backend.to_str())["model"]
    merges = [tuple(pair) for pair in bpe["merges"]]  # pairs, as tokenizers takes them; the annotation says strings
    tokenizer = Qwen2Tokenizer(vocab=bpe["vocab"], merges=merges)  # type: ignore[arg-type]
    tokenizer.add_special_tokens({"extra_special_tokens": list(SPECIAL_TOKENS[1:])})
    return SapQwen2AudioProcessor(
        WhisperFeatureExtractor(feature_size=MELS),
        tokenizer,
        chat_template=CHAT_TEMPLATE,
        leading_blank=True,
        spelling=FOLDED_POSSESSIVE,
    )


def build_model(processor: SapQwen2AudioProcessor, encoder: Encoder) -> Qwen2AudioForConditionalGeneration:
    """A model with the given encoder and a random Qwen2 decoder of 6 layers and 256 dimensions."""
    tokenizer = processor.tokenizer
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder", "num_mel_bins": MELS, "d_model": encoder.hidden,
            "encoder_layers": encoder.layers, "encoder_attention_heads": encoder.heads,
            "encoder_ffn_dim": 4 * encoder.hidden, "max_source_positions": 1500,
        },
        text_config={
            "model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": 256, "intermediate_size": 768,
            "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 8,
            "max_position_embeddings": 4096, "tie_word_embeddings": True,
            "bos_token_id": None, "eos_token_id": processor.end_id,
            "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    model = Qwen2AudioForConditionalGeneration(config)
    model.model.audio_tower.load_state_dict(encoder.weights)
    with torch.no_grad():  # the stock class does not tie what the text model's settings tie
        model.lm_head.weight.copy_(model.get_input_embeddings().weight)
    return model
