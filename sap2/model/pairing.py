"""Check that an adapter was trained on a base's weights and tokenizer; equal tensor sizes do not prove it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sap2.errors import ModelError

__all__ = ["base_digest", "check_base", "check_tokenizer"]

Folder = str | Path

TOKENIZER = "tokenizer.json"
SAMPLE = 4096  # values of a tensor that are hashed


def base_digest(base: Folder) -> str | None:
    """Return a hex SHA-256 that identifies a base's weights; None for a hub id, whose files are not local.

    It takes moments for any size: the beginning of every tensor is hashed, as bfloat16, whichever file holds it. A base
    saved again with other shards has the same digest.
    """
    samples: list[bytes] = []
    for path in sorted(Path(base).glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as tensors:
                for name in tensors.keys():
                    piece = tensors.get_slice(name)
                    # Only the first row of a matrix, so that few pages are read.
                    sides = len(piece.get_shape())
                    first = piece[: 1 if sides > 1 else SAMPLE] if sides else tensors.get_tensor(name)
                    values = first.flatten()[:SAMPLE].to(torch.bfloat16).contiguous()
                    samples.append(hashlib.sha256(values.view(torch.int16).numpy().tobytes()).digest())
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: not readable ({error}); expected complete *.safetensors files") from error
    return hashlib.sha256(b"".join(sorted(set(samples)))).hexdigest() if samples else None


def check_base(base: Folder, adapter: Folder, trained_on: str | None) -> None:
    """Refuse an adapter that was trained on another base.

    Args:
        trained_on: The `base_digest` in the adapter's settings; None = unknown, as for an adapter from another project.
    Raises: ModelError: the adapter was trained on another base.
    """
    if trained_on is not None and (digest := base_digest(base)) is not None and digest != trained_on:
        raise ModelError(
            f"{adapter}: trained on a base with other weights than {base}; give the base it was trained on, or train "
            "the stage again"
        )


def check_tokenizer(base: Folder, adapter: Folder) -> None:
    """Refuse an adapter whose tokenizer has other ids or merges than the base's.

    Markers that only one tokenizer has are ignored: their ids follow all others.
    Raises: ModelError: the tokenizers differ, or cannot be read.
    """
    paths = Path(base) / TOKENIZER, Path(adapter) / TOKENIZER
    if not all(path.is_file() for path in paths) or paths[0].read_bytes() == paths[1].read_bytes():
        return
    (words, merges, added), (trained_words, trained_merges, trained_added) = map(_read, paths)
    added |= {token: number for token, number in words.items() if token in trained_added}
    other = [
        *(token for token in words.keys() | trained_words.keys() if words.get(token) != trained_words.get(token)),
        *(token for token in added.keys() & trained_added.keys() if added[token] != trained_added[token]),
    ]
    if other or merges != trained_merges:
        what = f"{len(other)} tokens differ, such as {min(other)!r}" if other else "the merges differ"
        raise ModelError(
            f"{adapter}: trained with another tokenizer than {base} has ({what}); give the base it was trained on, or "
            "train the stage again"
        )


def _read(path: Path) -> tuple[dict[str, int], list[Any], dict[str, int]]:
    """Return a tokenizer's vocabulary, merges and added tokens, with their ids."""
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        model = tokenizer["model"]
        added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
        return dict(model["vocab"]), list(model.get("merges", [])), added
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read as a tokenizer ({error}); copy the base's file again") from error
