"""Fit the weights of the first pass's evidence (`pruning.first_pass`) on dev, and tell what each kind is worth on test.

    python -m experiments.weights --models models --lists data/lists

For your own base, or other names: the weights that params.yaml has are of the embedded base. Lists are taken as
they are, and filled with other names of their split to `--size`.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, softplus

from experiments.run import with_lists
from sap2.errors import InputError
from sap2.inference import load_pruner
from sap2.inference.first_pass import Written, in_best_place
from sap2.inference.threshold import curve
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.params import load_params
from sap2.settings import FirstPassWeights

WEIGHTS = ("tag", "likeness", "likelihood", "prior")
KINDS = {
    "tags": ("tag",),
    "tags, likeness": ("tag", "likeness"),
    "tags, likeness, likelihood": ("tag", "likeness", "likelihood"),
}
STEPS, RATE = 200, 0.1
LEAST = 1e-6


@dataclass(frozen=True)
class Told:
    """What is known of some utterances.

    Args:
        evidence: Of each what `Pruner.evidence` gives.
        said: Its spoken keywords.
    """

    evidence: list[tuple[Sequence[Written], Sequence[float]]]
    said: list[list[str]]

    @cached_property
    def best(self) -> list[list[tuple[float, Written]]]:
        """Each utterance's keywords with their gains, once, where these are greatest."""
        return [in_best_place(*one) for one in self.evidence]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with base and pruner")
    parser.add_argument("--lists", type=Path, default=Path("data/lists"), help="folder with dev.jsonl and test.jsonl")
    parser.add_argument("--size", type=int, default=1000, help="names of the long lists (1000)")
    parser.add_argument("--utterances", type=int, default=200, help="of each split at most (200)")
    asked = parser.parse_args()
    pruner = load_pruner(asked.models / "base", asked.models / "pruner", load_params().pruning)
    if not pruner.tagging:
        parser.error(f"{asked.models / 'pruner'} has learnt no tags; train it with model.tagging above 0")

    def told(split, size: int | None) -> Told:
        manifest = asked.lists / f"{split}.jsonl"
        rows = [one for one in read_manifest(manifest) if one.keywords][: asked.utterances]
        rows = rows if size is None else list(with_lists(rows, size, split=split))
        evidence = pruner.evidence([audio_path(one, manifest) for one in rows], [one.keywords for one in rows])
        return Told(evidence, [spoken(one) for one in rows])

    tests = {"own lists": told("test", None), f"lists of {asked.size}": told("test", asked.size)}
    own, long = told("dev", None), told("dev", asked.size)
    dev = Told(own.evidence + long.evidence, own.said + long.said)
    weights: dict[str, float] = {}
    for rivals in (False, True):
        for kind, used in KINDS.items():
            weights = fit(dev, used, rivals)
            for name, test in tests.items():
                print(f"{kind}{', rivals' if rivals else ''}; {name}: {_written(test, weights, rivals)}", flush=True)
    print(json.dumps(weights | {"candidates": FirstPassWeights().candidates}))


def fit(told: Told, used: Sequence[str] = WEIGHTS, rivals: bool = True) -> dict[str, float]:
    """The weights with which the keywords' chances are nearest to what was said.

    Args:
        used: Those that may be other than 0, and the prior.
        rivals: Whether keywords compete for their places.
    Raises: InputError: nothing was tried.
    """
    features, competing, there = _table(told, rivals)
    if not there.any():
        raise InputError("none of dev's keywords is likely enough to be tried; train the pruner longer")
    right = torch.zeros(there.shape)
    for row, (best, words) in enumerate(zip(told.best, told.said, strict=True)):
        for place, (_, one) in enumerate(best):
            right[row, place] = float(one.keyword in words)
    mask = torch.tensor([float(name in used or name == "prior") for name in WEIGHTS])
    weights = torch.zeros(len(WEIGHTS), requires_grad=True)
    least = torch.tensor([-torch.inf if name == "prior" else 0.0 for name in WEIGHTS])  # as FirstPassWeights allows
    optimiser = torch.optim.Adam([weights], lr=RATE)
    for _ in range(STEPS):
        chance = log_chances(features @ (weights * mask), competing).exp().clamp(LEAST, 1 - LEAST)
        optimiser.zero_grad()
        binary_cross_entropy(chance[there], right[there]).backward()
        optimiser.step()
        with torch.no_grad():
            weights.clamp_(min=least)
    return {name: round(one, 3) for name, one in zip(WEIGHTS, (weights * mask).tolist(), strict=True)}


def log_chances(odds: Tensor, rivals: Tensor) -> Tensor:
    """`sap2.inference.first_pass.chances` of many utterances at once.

    Args:
        odds: `(utterances, keywords)`.
        rivals: Which keyword stands instead of which, `(utterances, keywords, keywords)`.
    """
    return odds - softplus(odds[:, None].masked_fill(~rivals, -torch.inf).logsumexp(-1))


def _table(told: Told, rivals: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Features `(utterances, keywords, 4)`, who competes with whom, and where there is a keyword at all."""
    rows = told.best
    most = max(map(len, rows), default=0)
    features, there = torch.zeros(len(rows), most, len(WEIGHTS)), torch.zeros(len(rows), most, dtype=torch.bool)
    competing = torch.eye(most, dtype=torch.bool).repeat(len(rows), 1, 1)
    for row, best in enumerate(rows):
        for place, (gain, one) in enumerate(best):
            features[row, place] = torch.tensor([one.tag, one.likeness, gain, 1.0])
            there[row, place] = True
            if rivals:
                competing[row, place, : len(best)] = torch.tensor([one.rivals(other) for _, other in best])
    return features, competing, there


def _written(told: Told, weights: dict[str, float], rivals: bool) -> str:
    """Recall where precision is 0.8, and where there is one false alarm in 100 utterances."""
    features, competing, _ = _table(told, rivals)
    found = log_chances(features @ torch.tensor(list(weights.values())), competing).tolist()
    scored = [
        {one.keyword: score for (_, one), score in zip(best, row, strict=False)}
        for best, row in zip(told.best, found, strict=True)
    ]
    points = curve(scored, told.said)
    precise = max((row["recall"] for row in points if (row["precision"] or 0.0) >= 0.8), default=0.0)
    careful = max((row["recall"] for row in points if row["false_alarms_per_100"] <= 1.0), default=0.0)
    return f"recall {precise:.3f} at precision 0.8, {careful:.3f} at 1 false alarm / 100"


if __name__ == "__main__":
    main()
