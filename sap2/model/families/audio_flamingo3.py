"""Audio Flamingo 3: Qwen2-Audio's encoder (Whisper), a projector with two layers, Qwen2's decoder."""

from huggingface_hub.dataclasses import strict
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3Encoder,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Model,
    AudioFlamingo3Processor,
)

from sap2.model.configuration import SapFields
from sap2.model.families import Family, register
from sap2.model.modeling import OwnLengthEncoder, SapForConditionalGeneration, SapModel
from sap2.model.processing import SapProcessor


@strict
class SapAudioFlamingo3Config(SapFields, AudioFlamingo3Config):
    """See `SapFields`; the stock class never ties the head to the embedding table."""

    model_type = "sap_audioflamingo3"
    tie_word_embeddings: bool = False


class SapAudioFlamingo3Encoder(OwnLengthEncoder, AudioFlamingo3Encoder):
    """Audio Flamingo 3's encoder without the padding to 30 s."""


class SapAudioFlamingo3Model(SapModel, AudioFlamingo3Model):
    """Audio Flamingo 3 without its head."""

    config: SapAudioFlamingo3Config
    encoder = SapAudioFlamingo3Encoder


class SapAudioFlamingo3ForConditionalGeneration(SapForConditionalGeneration, AudioFlamingo3ForConditionalGeneration):
    """Contextual speech recogniser on Audio Flamingo 3."""

    config: SapAudioFlamingo3Config
    headless = SapAudioFlamingo3Model


class SapAudioFlamingo3Processor(SapProcessor, AudioFlamingo3Processor):
    """Audio Flamingo 3's processor plus the keyword list; its template has the speech before the text."""

    def __init__(
        self, feature_extractor=None, tokenizer=None, chat_template=None, audio_token="<sound>",
        default_transcription_prompt="Transcribe the input speech.", max_audio_len=600, context_start_token=None,
        context_end_token=None, context_token=None, window=None, windows=None, separator=None, leading_blank=None,
        spelling=None,
    ):  # fmt: skip
        super().__init__(
            feature_extractor, tokenizer, chat_template, audio_token, default_transcription_prompt, max_audio_len
        )
        self.set_up(
            context_start_token=context_start_token, context_end_token=context_end_token, context_token=context_token,
            window=window, windows=windows, separator=separator, leading_blank=leading_blank, spelling=spelling,
        )  # fmt: skip


# As in the checkpoint's conversion (transformers' convert_audioflamingo3_to_hf.py).
_7B = {
    "text_config": {
        "model_type": "qwen2", "vocab_size": 151_672, "hidden_size": 3584, "intermediate_size": 18_944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False,
    },
}  # fmt: skip
FAMILY = register(
    Family(
        title="Audio Flamingo 3",
        config=SapAudioFlamingo3Config,
        model=SapAudioFlamingo3ForConditionalGeneration,
        processor=SapAudioFlamingo3Processor,
        encoder_positions=2,
        published={"nvidia/audio-flamingo-3-hf": _7B},
    )
)
