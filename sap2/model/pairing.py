"""Whether an adapter belongs to a base: the one it was trained on, with the same tokenizer. Sizes alone do not tell."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from sap2.errors import ModelError

__all__ = ["base_digest", "check_base", "check_tokenizer"]

Folder = str | Path

TOKENIZER = "tokenizer.json"
SAMPLE = 4096  # values of a tensor that are looked at


def base_digest(base: Folder) -> str | None:
    """Hex SHA-256 that tells a base's weights from another's, of however many gigabytes, in moments.

    The beginning of every tensor counts, as bfloat16, whatever files hold it: a base saved again in other parts is the
    same. None for one of the hub that is no folder here.
    """
    samples = []
    for path in sorted(Path(base).glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as tensors:
                for name in tensors.keys():
                    piece = tensors.get_slice(name)
                    # Of a matrix its first row: only the pages that are looked at are read.
                    sides = len(piece.get_shape())
                    first = piece[: 1 if sides > 1 else SAMPLE] if sides else tensors.get_tensor(name)
                    values = first.flatten()[:SAMPLE].to(torch.bfloat16).contiguous()
                    samples.append(hashlib.sha256(values.view(torch.int16).numpy().tobytes()).digest())
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: not readable ({error}); needs whole *.safetensors") from error
    return hashlib.sha256(b"".join(sorted(set(samples)))).hexdigest() if samples else None


def check_base(base: Folder, adapter: Folder, trained_on: str | None) -> None:
    """Refuse an adapter that was trained on another base.

    Args:
        trained_on: The `base_digest` its settings name; None = they name none, as those of an adapter from elsewhere.
    Raises: ModelError: it was.
    """
    if trained_on is not None and (digest := base_digest(base)) is not None and digest != trained_on:
        raise ModelError(
            f"{adapter}: trained on another base than {base}, of other weights; give the base it was trained on, or "
            "train the stage again"
        )


def check_tokenizer(base: Folder, adapter: Folder) -> None:
    """Refuse an adapter whose tokenizer numbers or splits words otherwise than the base's.

    Markers that only one of them knows are no difference: they come after all others.
    Raises: ModelError: it does, or a tokenizer is not readable.
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
        what = f"{len(other)} tokens differ, as {min(other)!r}" if other else "words are split otherwise"
        raise ModelError(
            f"{adapter}: trained with another tokenizer than that of {base} ({what}); give the base it was trained on, "
            "or train the stage again"
        )


def _read(path: Path) -> tuple[dict[str, int], list, dict[str, int]]:
    """The numbers of the words, how they are put together, and the numbers of the tokens that were added."""
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        model = tokenizer["model"]
        added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
        return dict(model["vocab"]), list(model.get("merges", [])), added
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: no tokenizer that can be read ({error}); take the file of the base again") from error
