"""Measure how many of a window's tokens can be read from its pooled vector, with even and random weights.

    python -m experiments.windows --models models --lists data/lists

A vector is decomposed by orthogonal matching pursuit: the token most similar to the remainder is removed, repeatedly.
Neither speech nor language model are used: any model could recover what is recovered here.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sap2.manifest import read_manifest
from sap2.model import load_model, load_processor

SIZES = (2, 4, 8)  # window sizes W
SPREAD = 2.0  # Dirichlet parameter of the random weights: one of two tokens gets less than a quarter in one case of six


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with base")
    parser.add_argument("--lists", type=Path, default=Path("data/lists"), help="folder with test.jsonl")
    options = parser.parse_args()
    model, processor = load_model(options.models / "base"), load_processor(options.models / "base")
    embeddings = model.get_input_embeddings().weight.detach().float().numpy()
    words = sorted({word for row in read_manifest(options.lists / "test.jsonl") for word in row.keywords})
    tokens = [processor.tokenise_word(word, first=False, separated=True) for word in words]
    rng = np.random.default_rng(1)
    for size in SIZES:
        windows = [ids[at : at + size] for ids in tokens for at in range(0, len(ids), size)]
        windows = [ids for ids in windows if len(ids) > 1]
        even = [np.full(len(ids), 1 / len(ids)) for ids in windows]
        random = [rng.dirichlet(np.full(len(ids), SPREAD)) for ids in windows]
        shares = [_share_read(embeddings, windows, weights) for weights in (even, random)]
        print(f"W = {size}: all tokens are read from {shares[0]:.1%} of {len(windows)} windows, even weights; ", end="")
        print(f"from {shares[1]:.1%}, random weights")


def _share_read(embeddings: np.ndarray, windows: Sequence[list[int]], weights: Sequence[np.ndarray]) -> float:
    right = [
        read(embeddings, shares @ embeddings[ids], len(set(ids))) == set(ids)
        for ids, shares in zip(windows, weights, strict=True)
    ]
    return float(np.mean(right))


def read(embeddings: np.ndarray, vector: np.ndarray, count: int) -> set[int]:
    """Recover the tokens of a pooled vector by matching pursuit.

    Args:
        embeddings: `(vocabulary, hidden)`.
        vector: The window's vector, `(hidden,)`.
        count: Number of different tokens.
    """
    lengths = np.linalg.norm(embeddings, axis=1).clip(min=1e-6)
    tokens: list[int] = []
    rest = vector
    for _ in range(count):
        alike = embeddings @ rest / lengths
        alike[tokens] = -np.inf
        tokens.append(int(alike.argmax()))
        basis = embeddings[tokens].T
        rest = vector - basis @ np.linalg.lstsq(basis, vector, rcond=None)[0]
    return set(tokens)


if __name__ == "__main__":
    main()
