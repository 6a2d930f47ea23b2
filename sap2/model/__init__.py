"""The model, laid out like a Hugging Face model folder, with a module for each family of bases.

Importing it registers our classes of every family (`sap_qwen2_audio`, `sap_qwen3_asr`, …) with AutoConfig, AutoModel,
AutoModelForMultimodalLM and AutoProcessor.
"""

from sap2.model.families import FAMILIES, Family, available_families, family_named, family_of
from sap2.model.families.qwen2_audio import (
    SapQwen2AudioConfig,
    SapQwen2AudioForConditionalGeneration,
    SapQwen2AudioModel,
    SapQwen2AudioProcessor,
)
from sap2.model.loading import (
    LORA_TARGETS,
    MARKERS,
    POOLING,
    add_adapter,
    has_own_rows,
    load_model,
    load_processor,
    processor_fields,
    quantization,
    sap_config,
    sap_settings,
    save_adapter,
    save_sap_settings,
)
from sap2.model.modeling import CACHE
from sap2.model.pooling import pool_context
from sap2.model.processing import SAMPLE_RATE, SapProcessor

available_families()

__all__ = [
    "CACHE",
    "FAMILIES",
    "Family",
    "LORA_TARGETS",
    "MARKERS",
    "POOLING",
    "SAMPLE_RATE",
    "SapProcessor",
    "SapQwen2AudioConfig",
    "SapQwen2AudioForConditionalGeneration",
    "SapQwen2AudioModel",
    "SapQwen2AudioProcessor",
    "add_adapter",
    "available_families",
    "family_named",
    "family_of",
    "has_own_rows",
    "load_model",
    "load_processor",
    "pool_context",
    "processor_fields",
    "quantization",
    "sap_config",
    "sap_settings",
    "save_adapter",
    "save_sap_settings",
]
