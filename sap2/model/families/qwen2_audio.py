"""Qwen2-Audio, the paper's base and the embedded base's architecture: Whisper's encoder, Qwen2's decoder."""

from huggingface_hub.dataclasses import strict
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioEncoder,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
)
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioModel

from sap2.model.configuration import SapFields
from sap2.model.families import Family, register
from sap2.model.modeling import OwnLengthEncoder, SapForConditionalGeneration, SapModel
from sap2.model.processing import SapProcessor


@strict
class SapQwen2AudioConfig(SapFields, Qwen2AudioConfig):
    """See `SapFields`; `tie_word_embeddings` follows the text model's setting, which the stock class ignores."""

    model_type = "sap_qwen2_audio"
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))


class SapAudioEncoder(OwnLengthEncoder, Qwen2AudioEncoder):
    """Qwen2-Audio's encoder without the padding to 30 s."""


class SapQwen2AudioModel(SapModel, Qwen2AudioModel):
    """Qwen2-Audio without its head."""

    config: SapQwen2AudioConfig
    encoder = SapAudioEncoder


class SapQwen2AudioForConditionalGeneration(SapForConditionalGeneration, Qwen2AudioForConditionalGeneration):
    """Contextual speech recogniser on Qwen2-Audio."""

    config: SapQwen2AudioConfig
    headless = SapQwen2AudioModel


class SapQwen2AudioProcessor(SapProcessor, Qwen2AudioProcessor):
    """Qwen2-Audio's processor plus the keyword list."""

    def __init__(
        self, feature_extractor=None, tokenizer=None, chat_template=None, audio_token="<|AUDIO|>",
        audio_bos_token="<|audio_bos|>", audio_eos_token="<|audio_eos|>", context_start_token=None,
        context_end_token=None, context_token=None, window=None, windows=None, separator=None, leading_blank=None,
        spelling=None,
    ):  # fmt: skip
        # Without the tokenizer's template, which stock ignores too.
        super().__init__(
            feature_extractor, tokenizer, chat_template, audio_token, audio_bos_token, audio_eos_token
        )  # fmt: skip
        self.set_up(
            context_start_token=context_start_token, context_end_token=context_end_token, context_token=context_token,
            window=window, windows=windows, separator=separator, leading_blank=leading_blank, spelling=spelling,
        )  # fmt: skip


# config.json of Qwen/Qwen2-Audio-7B and of -7B-Instruct (huggingface.co/Qwen/Qwen2-Audio-7B-Instruct):
# Whisper-large-v3's encoder under Qwen-7B's decoder, without grouped queries.
_7B = {
    "audio_config": {
        "model_type": "qwen2_audio_encoder", "num_mel_bins": 128, "d_model": 1280, "encoder_layers": 32,
        "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "max_source_positions": 1500,
    },
    "text_config": {
        "model_type": "qwen2", "vocab_size": 156_032, "hidden_size": 4096, "intermediate_size": 11_008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "tie_word_embeddings": False,
    },
}  # fmt: skip
FAMILY = register(
    Family(
        title="Qwen2-Audio",
        config=SapQwen2AudioConfig,
        model=SapQwen2AudioForConditionalGeneration,
        processor=SapQwen2AudioProcessor,
        encoder_positions=2,
        published={"Qwen/Qwen2-Audio-7B": _7B, "Qwen/Qwen2-Audio-7B-Instruct": _7B},
    )
)
