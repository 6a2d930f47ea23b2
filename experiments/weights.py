"""Fit the weights of the first pass's evidence (`pruning.first_pass`) on dev, to lists as they are and to long ones.

    python -m experiments.weights --models models --lists data/lists

For a base of one's own, or other names: the weights that params.yaml has are of the embedded base.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus

from experiments.run import with_lists
from sap2.errors import InputError
from sap2.inference import Recogniser
from sap2.inference.first_pass import FirstPass, Written, in_best_place
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.params import load_params

WEIGHTS = ("tag", "likeness", "likelihood", "prior")
STEPS, RATE = 200, 0.1
LEAST = 1e-6

Evidence = tuple[Sequence[Written], Sequence[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with base and pruner")
    parser.add_argument("--lists", type=Path, default=Path("data/lists"), help="folder with dev.jsonl")
    parser.add_argument("--size", type=int, default=1000, help="names of the long lists (1000)")
    asked = parser.parse_args()
    manifest = asked.lists / "dev.jsonl"
    own = read_manifest(manifest)
    utterances = [*own, *with_lists(own, asked.size, split="dev")]
    options = load_params().pruning.options()
    recogniser = Recogniser.load(asked.models / "base", pruner=asked.models / "pruner", **options)
    if not recogniser.tagging:
        parser.error(f"{asked.models / 'pruner'} has learnt no tags; train it with model.tagging above 0")
    audio = [audio_path(one, manifest) for one in utterances]
    told = recogniser.evidence(audio, [one.keywords for one in utterances])
    weights, loss = fit(told, [spoken(one) for one in utterances if one.keywords])
    print(json.dumps(weights | {"candidates": FirstPass().candidates}))
    print(f"{loss:.4f} nats a keyword that was tried, {sum(len(tried) for tried, _ in told)} places")


def fit(told: Sequence[Evidence], said: Sequence[Sequence[str]]) -> tuple[dict[str, float], float]:
    """The weights with which the chances of the keywords are nearest to what was said, and the loss there is left.

    Args:
        told: Of each utterance what `Recogniser.evidence` gives.
        said: Its spoken keywords.
    Raises: InputError: nothing was tried.
    """
    rows = [in_best_place(*one) for one in told]
    most = max(map(len, rows), default=0)
    if not most:
        raise InputError("none of dev's keywords is likely enough to be tried; train the pruner longer")
    features = torch.zeros(len(rows), most, len(WEIGHTS))
    rivals = torch.eye(most, dtype=torch.bool).repeat(len(rows), 1, 1)
    right, there = torch.zeros(len(rows), most), torch.zeros(len(rows), most, dtype=torch.bool)
    for row, (best, words) in enumerate(zip(rows, said, strict=True)):
        for place, (gain, one) in enumerate(best):
            features[row, place] = torch.tensor([one.tag, one.likeness, gain, 1.0])
            rivals[row, place, : len(best)] = torch.tensor([one.rivals(other) for _, other in best])
            right[row, place], there[row, place] = float(one.keyword in words), True
    weights = torch.zeros(len(WEIGHTS), requires_grad=True)
    optimiser = torch.optim.Adam([weights], lr=RATE)
    loss = torch.zeros(())
    for _ in range(STEPS):
        chance = log_chances(features @ weights, rivals).exp().clamp(LEAST, 1 - LEAST)
        loss = torch.nn.functional.binary_cross_entropy(chance[there], right[there])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return dict(zip(WEIGHTS, (round(one, 3) for one in weights.tolist()), strict=True)), loss.item()


def log_chances(odds: Tensor, rivals: Tensor) -> Tensor:
    """`sap2.inference.first_pass.chances` of many utterances at once.

    Args:
        odds: `(utterances, keywords)`.
        rivals: Which keyword stands in the place of which, `(utterances, keywords, keywords)`.
    """
    return odds - softplus(odds[:, None].masked_fill(~rivals, -torch.inf).logsumexp(-1))


if __name__ == "__main__":
    main()
