"""The identity of a recogniser: a digest of the weights and settings that determine its text."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from sap2.inference.recogniser import Recogniser

__all__ = ["identity"]

VALUES = 1 << 16  # values hashed per tensor, evenly spread; a training changes them all


def identity(recogniser: Recogniser) -> str:
    """Return a digest of a recogniser's weights and settings, independent of paths and device."""
    pruner, transcriber = recogniser.pruner, recogniser.transcriber
    settings = recogniser.settings.deciding_text()
    if pruner:
        settings["pruning"]["threshold"] = pruner.threshold  # None may stand for the tags' default
    stages = (transcriber.stage, *(pruner.stages if pruner else ()))
    settings["spelling"] = [stage.spelling for stage in stages]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    models = {id(stage.model): stage.model for stage in stages}
    for model in models.values():
        adapters = getattr(model, "peft_config", {})
        scales = {name: [adapter.r, adapter.lora_alpha] for name, adapter in adapters.items()}
        digest.update(json.dumps([model.config.sap_fields(), scales], sort_keys=True).encode())
        _add_weights(digest, model.state_dict())
    return digest.hexdigest()


def _add_weights(digest: "hashlib._Hash", weights: Mapping[str, Tensor]) -> None:
    for name in sorted(weights):
        values = weights[name].detach().reshape(-1)
        some = values[:: max(1, values.numel() // VALUES)].cpu().contiguous()
        digest.update(f"{name} {tuple(weights[name].shape)} {some.dtype}".encode())
        digest.update(some.view(torch.uint8).numpy().tobytes())
