"""The model, laid out like a Hugging Face model folder: configuration, pooling, modeling, processing, loading.

Importing it registers `sap_qwen2_audio` with AutoConfig, AutoModel, AutoModelForMultimodalLM and AutoProcessor.
"""

from sap2.model.configuration import SapQwen2AudioConfig
from sap2.model.loading import (
    LORA_TARGETS,
    MARKERS,
    POOLING,
    add_adapter,
    has_own_rows,
    load_model,
    load_processor,
    processor_fields,
    sap_settings,
    save_adapter,
    save_sap_settings,
)
from sap2.model.modeling import CACHE, SapQwen2AudioForConditionalGeneration, SapQwen2AudioModel
from sap2.model.pooling import pool_context
from sap2.model.processing import SAMPLE_RATE, SapQwen2AudioProcessor

__all__ = [
    "CACHE",
    "LORA_TARGETS",
    "MARKERS",
    "POOLING",
    "SAMPLE_RATE",
    "SapQwen2AudioConfig",
    "SapQwen2AudioForConditionalGeneration",
    "SapQwen2AudioModel",
    "SapQwen2AudioProcessor",
    "add_adapter",
    "has_own_rows",
    "load_model",
    "load_processor",
    "pool_context",
    "processor_fields",
    "sap_settings",
    "save_adapter",
    "save_sap_settings",
]
