"""What tells one recogniser from another: the weights and settings that decide its text."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sap2.inference.recogniser import Recogniser

__all__ = ["identity"]

VALUES = 1 << 16  # of each tensor that are looked at, evenly spread: a training changes them all
OF_SPEED = ("batch_size", "batch_tokens")  # how many are decoded at once is the machine's business


def identity(recogniser: "Recogniser") -> str:
    """A digest of a recogniser's weights and settings; where they lie and on which device they run does not count."""
    decodings = [asdict(one) for one in (recogniser.decoding, recogniser.pruning_decoding)]
    settings = {
        "decoding": [{key: value for key, value in one.items() if key not in OF_SPEED} for one in decodings],
        **{name: getattr(recogniser, name) for name in ("max_list", "stop_bias", "threshold", "prefilter")},
        "first_pass": recogniser.first_pass and asdict(recogniser.first_pass),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for model in (recogniser.model, *(recogniser.pruner or ())[:1]):
        adapters = getattr(model, "peft_config", {})
        scales = {name: [one.r, one.lora_alpha] for name, one in adapters.items()}
        digest.update(json.dumps([model.config.sap_fields(), scales], sort_keys=True).encode())
        _weigh(digest, model.state_dict())
    return digest.hexdigest()


def _weigh(digest: "hashlib._Hash", weights: Mapping[str, Tensor]) -> None:
    for name in sorted(weights):
        values = weights[name].detach().reshape(-1)
        some = values[:: max(1, values.numel() // VALUES)].cpu().contiguous()
        digest.update(f"{name} {tuple(weights[name].shape)} {some.dtype}".encode())
        digest.update(some.view(torch.uint8).numpy().tobytes())
