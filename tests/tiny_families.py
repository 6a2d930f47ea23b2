"""Tiny random bases of every family, saved in the stock layout by the stock classes."""

from collections.abc import Callable
from pathlib import Path

import transformers
from tiny import CONTEXT_TOKENS, build_tiny_base, scaled, tiny_tokenizer
from transformers import WhisperFeatureExtractor

TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip
AUDIO = {
    "num_mel_bins": 80, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
# Wide enough for the text model's layers to outweigh the projector, as in real models.
WIDE = TEXT | {
    "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 4,
}  # fmt: skip
# The published templates, reduced to our prompts: a user turn, optionally after a system turn.
QWEN3_ASR = (
    "{% for m in messages if m.role == 'system' %}<|im_start|>system\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% for m in messages if m.role == 'user' %}<|im_start|>user\n"
    "{% for c in m.content if c.type == 'audio' %}<|audio_start|><|audio_pad|><|audio_end|>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FLAMINGO = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content if c.type == 'audio' %}<sound>{% endfor %}"
    "{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GLM = (
    "{% for m in messages %}{% for c in m.content %}<|{{ m.role }}|>\n"
    "{% if c.type == 'audio' %}<|begin_of_audio|><|pad|><|end_of_audio|>{% else %}{{ c.text }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def build_tiny(
    family: str, directory: Path, *, with_context_tokens: bool = True, seed: int = 0, text: dict = TEXT
) -> Path:
    """Save a random base of 2 + 2 layers, hidden 32 unless set by `text`, of a family; return its folder."""
    if family == "qwen2_audio":
        return build_tiny_base(directory, with_context_tokens=with_context_tokens, tie=False, seed=seed)
    model, processor = BUILDERS[family](CONTEXT_TOKENS if with_context_tokens else [], text)
    scaled(model, seed)
    model.tie_weights()
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def _qwen3_asr(markers: list[str], text: dict):
    speech = {"audio_token": "<|audio_pad|>", "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"}
    tokenizer = tiny_tokenizer([*CHATML, *speech.values(), *markers], **speech)
    tokenizer.add_tokens(["<asr_text>"])
    config = transformers.Qwen3ASRConfig(
        audio_config=AUDIO
        | {"model_type": "qwen3_asr_encoder", "output_dim": text["hidden_size"], "downsample_hidden_size": 4},
        text_config=text
        | {"model_type": "qwen3", "head_dim": 16, "vocab_size": len(tokenizer), "tie_word_embeddings": True},
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio_pad|>"),
        eos_token_id=tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"]),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
    )
    extractor = transformers.Qwen3ASRFeatureExtractor(feature_size=80)
    processor = transformers.Qwen3ASRProcessor(extractor, tokenizer, chat_template=QWEN3_ASR)
    return transformers.Qwen3ASRForConditionalGeneration(config), processor


def _audio_flamingo3(markers: list[str], text: dict):
    tokenizer = tiny_tokenizer([*CHATML, "<sound>", *markers])
    config = transformers.AudioFlamingo3Config(
        audio_config=AUDIO | {"model_type": "audioflamingo3_encoder"},
        text_config=text | {"model_type": "qwen2", "vocab_size": len(tokenizer), "tie_word_embeddings": False},
        audio_token_id=tokenizer.convert_tokens_to_ids("<sound>"),
    )
    extractor = WhisperFeatureExtractor(feature_size=80, return_attention_mask=True)
    processor = transformers.AudioFlamingo3Processor(extractor, tokenizer, chat_template=FLAMINGO)
    return transformers.AudioFlamingo3ForConditionalGeneration(config), processor


def _glm_asr(markers: list[str], text: dict):
    special = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|pad|>", "<|begin_of_audio|>", "<|end_of_audio|>"]
    tokenizer = tiny_tokenizer([*special, *markers])
    config = transformers.GlmAsrConfig(
        # The projector takes four states side by side: the encoder's inner width is four times its width.
        audio_config=AUDIO | {"model_type": "glmasr_encoder", "intermediate_size": 64},
        text_config=text | {"model_type": "llama", "vocab_size": len(tokenizer)},
        audio_token_id=tokenizer.convert_tokens_to_ids("<|pad|>"),
    )
    extractor = WhisperFeatureExtractor(feature_size=80, return_attention_mask=True)
    processor = transformers.GlmAsrProcessor(extractor, tokenizer, chat_template=GLM)
    return transformers.GlmAsrForConditionalGeneration(config), processor


BUILDERS: dict[str, Callable] = {"qwen3_asr": _qwen3_asr, "audioflamingo3": _audio_flamingo3, "glmasr": _glm_asr}
