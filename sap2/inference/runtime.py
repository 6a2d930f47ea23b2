"""How a model is loaded and run: quantised weights, attention, static caches, compiled decoding.

Weights and attention are chosen while a base is loaded. Cache and compilation are those of `generate`, which reads them
from the model's `generation_config` where a call leaves them open.
"""

import os
import shutil
from importlib.util import find_spec
from typing import Any

import torch
from transformers import CompileConfig
from transformers.utils import is_flash_attn_2_available

from sap2.errors import ModelError
from sap2.model import quantization
from sap2.settings import RuntimeSettings

__all__ = ["check_runtime", "loading_options", "set_decoding"]

FLASH = "flash_attention_2"
COMPILERS = ("g++", "c++", "clang++")  # what inductor looks for on a CPU, besides CXX
BACKEND = "inductor"  # torch.compile's
# On a GPU transformers' choice, inductor with CUDA graphs; a CPU has none.
CPU_MODE: str | None = "default"
RECOMPILE_LIMIT = 64  # versions of a function, beyond which PyTorch runs it as it is


def check_runtime(runtime: RuntimeSettings, device: str | None) -> None:
    """Check that settings can take effect on a device, before anything is loaded.

    Raises: ModelError: something they need is missing, or two of them exclude each other.
    """
    on_gpu = _on_gpu(device)
    if runtime.attention == FLASH and not on_gpu:
        raise ModelError(
            f"runtime.attention is {FLASH}, which needs a GPU, and the model is loaded on {device or 'cpu'}; "
            "set runtime.attention to sdpa"
        )
    if runtime.attention == FLASH and not is_flash_attn_2_available():
        raise ModelError(
            f"runtime.attention is {FLASH}, which needs flash-attn, and that is not installed or does not support this "
            "GPU; pip install flash-attn, or set runtime.attention to sdpa"
        )
    if runtime.compile and runtime.quantization:
        raise ModelError(
            f"runtime.compile is true and runtime.quantization is {runtime.quantization}: layers of bitsandbytes are "
            "not compiled; set either to its default"
        )
    if runtime.compile and on_gpu and find_spec("triton") is None:
        raise ModelError(
            "runtime.compile needs triton on a GPU, which is not installed; pip install triton, or set runtime.compile "
            "to false"
        )
    if runtime.compile and not on_gpu and not any(map(shutil.which, (os.environ.get("CXX") or "", *COMPILERS))):
        raise ModelError(
            f"runtime.compile needs a C++ compiler on a CPU ({', '.join(COMPILERS)}, or that of CXX), none is there; "
            "install g++, or set runtime.compile to false"
        )


def loading_options(runtime: RuntimeSettings, device: str | None, dtype: str | torch.dtype) -> dict[str, Any]:
    """Return the options of `sap2.model.load_model` for a base.

    Args:
        dtype: The weights' dtype; 4-bit layers compute in it, or for `auto` in bfloat16 on a GPU.
    Raises: ModelError: bitsandbytes is not installed.
    """
    computing = dtype if isinstance(dtype, torch.dtype) else torch.bfloat16 if _on_gpu(device) else torch.float32
    return {
        "attn_implementation": runtime.attention,
        "quantization_config": quantization(runtime.quantization, computing),
    }


def set_decoding(runtime: RuntimeSettings, model: Any, device: str | None) -> None:
    """Set the cache of a loaded base's answers, and whether they are compiled.

    Raises: ModelError: the weights' dtype excludes the attention.
    """
    if runtime.attention == FLASH and model.dtype not in (torch.float16, torch.bfloat16):
        raise ModelError(
            f"{model.config.name_or_path}: runtime.attention is {FLASH}, which needs float16 or bfloat16, and the "
            f"base's weights are {str(model.dtype).removeprefix('torch.')}; set runtime.attention to sdpa"
        )
    config = model.generation_config
    static = runtime.static_cache or runtime.compile
    config.cache_implementation = "static" if static else None
    config.disable_compile = not runtime.compile  # else `generate` compiles on its own where the cache is static
    config.compile_config = None
    if runtime.compile:
        # Both stages' adapters and the bare base are compiled each, for some shapes: more than the default of 8.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
    if runtime.compile and not _on_gpu(device):
        config.compile_config = CompileConfig(backend=BACKEND, mode=CPU_MODE)  # type: ignore[arg-type]  # None = the backend's own
        config.compile_config._compile_all_devices = True


def _on_gpu(device: str | None) -> bool:
    return device is not None and torch.device(device).type == "cuda"
