"""What is left of a window's tokens in its one vector? Which of them can be read from it, with even and other weights.

    python -m experiments.windows --models models --lists data/lists

A vector is taken apart by orthogonal matching pursuit: the token most like what is left is taken out, one after the
other. No speech and no language model are asked: what is found so, any model could find.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sap2.manifest import read_manifest
from sap2.model import load_model, load_processor

SIZES = (2, 4, 8)  # W
SPREAD = (
    2.0  # of the random weights, as of Dirichlet's distribution: a token of two gets less than a quarter in one of six
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with base")
    parser.add_argument("--lists", type=Path, default=Path("data/lists"), help="folder with test.jsonl")
    asked = parser.parse_args()
    model, processor = load_model(asked.models / "base"), load_processor(asked.models / "base")
    embeddings = model.get_input_embeddings().weight.detach().float().numpy()
    words = sorted({word for one in read_manifest(asked.lists / "test.jsonl") for word in one.keywords})
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
        read(embeddings, one @ embeddings[ids], len(set(ids))) == set(ids)
        for ids, one in zip(windows, weights, strict=True)
    ]
    return float(np.mean(right))


def read(embeddings: np.ndarray, vector: np.ndarray, count: int) -> set[int]:
    """The tokens that a pooled vector is made of, as far as matching pursuit finds them.

    Args:
        embeddings: `(vocabulary, hidden)`.
        vector: A window's, `(hidden,)`.
        count: Different tokens to be found.
    """
    lengths = np.linalg.norm(embeddings, axis=1).clip(min=1e-6)
    found: list[int] = []
    rest = vector
    for _ in range(count):
        alike = embeddings @ rest / lengths
        alike[found] = -np.inf
        found.append(int(alike.argmax()))
        basis = embeddings[found].T
        rest = vector - basis @ np.linalg.lstsq(basis, vector, rcond=None)[0]
    return set(found)


if __name__ == "__main__":
    main()
