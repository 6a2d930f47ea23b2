"""Fit the weights of the first pass's evidence (`pruning.first_pass`) on dev, and measure each kind on test.

    python -m experiments.weights --models models --lists data/lists

For other bases or names: the weights in params.yaml are for the embedded base. Lists are used unchanged, and filled
with other names of their split up to `--size`.
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
from sap2.inference.first_pass import Written, at_best_words
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
class Observations:
    """Evidence and spoken keywords of some utterances.

    Args:
        evidence: The result of `Pruner.evidence` for each utterance.
        said: The spoken keywords of each utterance.
    """

    evidence: list[tuple[Sequence[Written], Sequence[float]]]
    said: list[list[str]]

    @cached_property
    def best(self) -> list[list[tuple[float, Written]]]:
        """Each utterance's keywords at the words with the greatest gain, with that gain."""
        return [at_best_words(*tried) for tried in self.evidence]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder with base and pruner")
    parser.add_argument("--lists", type=Path, default=Path("data/lists"), help="folder with dev.jsonl and test.jsonl")
    parser.add_argument("--size", type=int, default=1000, help="names of the long lists (1000)")
    parser.add_argument("--utterances", type=int, default=200, help="of each split at most (200)")
    options = parser.parse_args()
    pruner = load_pruner(options.models / "base", options.models / "pruner", load_params().pruning)
    if not pruner.tagging:
        parser.error(f"{options.models / 'pruner'} was not trained to tag; train it with model.tagging above 0")

    def observe(split, size: int | None) -> Observations:
        manifest = options.lists / f"{split}.jsonl"
        rows = [row for row in read_manifest(manifest) if row.keywords][: options.utterances]
        rows = rows if size is None else list(with_lists(rows, size, split=split))
        evidence = pruner.evidence([audio_path(row, manifest) for row in rows], [row.keywords for row in rows])
        return Observations(evidence, [spoken(row) for row in rows])

    tests = {"own lists": observe("test", None), f"lists of {options.size}": observe("test", options.size)}
    own, long = observe("dev", None), observe("dev", options.size)
    dev = Observations(own.evidence + long.evidence, own.said + long.said)
    weights: dict[str, float] = {}
    for rivals in (False, True):
        for kind, used in KINDS.items():
            weights = fit(dev, used, rivals)
            for name, test in tests.items():
                print(f"{kind}{', rivals' if rivals else ''}; {name}: {_written(test, weights, rivals)}", flush=True)
    print(json.dumps(weights | {"candidates": FirstPassWeights().candidates}))


def fit(observations: Observations, used: Sequence[str] = WEIGHTS, rivals: bool = True) -> dict[str, float]:
    """Fit the weights with the lowest cross-entropy of keywords being spoken.

    Args:
        used: Weights to fit besides the prior; others are 0.
        rivals: Whether keywords compete for words.
    Raises: InputError: no keyword was tried.
    """
    features, competing, present = _table(observations, rivals)
    if not present.any():
        raise InputError("none of dev's keywords is likely enough to be tried; train the pruner longer")
    right = torch.zeros(present.shape)
    for row, (best, words) in enumerate(zip(observations.best, observations.said, strict=True)):
        for column, (_, candidate) in enumerate(best):
            right[row, column] = float(candidate.keyword in words)
    mask = torch.tensor([float(name in used or name == "prior") for name in WEIGHTS])
    weights = torch.zeros(len(WEIGHTS), requires_grad=True)
    least = torch.tensor([-torch.inf if name == "prior" else 0.0 for name in WEIGHTS])  # as FirstPassWeights allows
    optimiser = torch.optim.Adam([weights], lr=RATE)
    for _ in range(STEPS):
        chance = log_chances(features @ (weights * mask), competing).exp().clamp(LEAST, 1 - LEAST)
        optimiser.zero_grad()
        binary_cross_entropy(chance[present], right[present]).backward()
        optimiser.step()
        with torch.no_grad():
            weights.clamp_(min=least)
    return {name: round(weight, 3) for name, weight in zip(WEIGHTS, (weights * mask).tolist(), strict=True)}


def log_chances(odds: Tensor, rivals: Tensor) -> Tensor:
    """Compute `sap2.inference.first_pass.chances` of many utterances at once.

    Args:
        odds: `(utterances, keywords)`.
        rivals: Which keywords compete, `(utterances, keywords, keywords)`.
    """
    return odds - softplus(odds[:, None].masked_fill(~rivals, -torch.inf).logsumexp(-1))


def _table(observations: Observations, rivals: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return features `(utterances, keywords, 4)`, which keywords compete, and which columns have a keyword."""
    rows = observations.best
    most = max(map(len, rows), default=0)
    features = torch.zeros(len(rows), most, len(WEIGHTS))
    present = torch.zeros(len(rows), most, dtype=torch.bool)
    competing = torch.eye(most, dtype=torch.bool).repeat(len(rows), 1, 1)
    for row, best in enumerate(rows):
        for column, (gain, candidate) in enumerate(best):
            features[row, column] = torch.tensor([candidate.tag, candidate.likeness, gain, 1.0])
            present[row, column] = True
            if rivals:
                competing[row, column, : len(best)] = torch.tensor([candidate.rivals(other) for _, other in best])
    return features, competing, present


def _written(observations: Observations, weights: dict[str, float], rivals: bool) -> str:
    """Format recall at a precision of 0.8, and at 1 false alarm per 100 utterances."""
    features, competing, _ = _table(observations, rivals)
    predictions = log_chances(features @ torch.tensor(list(weights.values())), competing).tolist()
    scored = [
        {candidate.keyword: score for (_, candidate), score in zip(best, row, strict=False)}
        for best, row in zip(observations.best, predictions, strict=True)
    ]
    points = curve(scored, observations.said)
    precise = max((row["recall"] for row in points if (row["precision"] or 0.0) >= 0.8), default=0.0)
    careful = max((row["recall"] for row in points if row["false_alarms_per_100"] <= 1.0), default=0.0)
    return f"recall {precise:.3f} at precision 0.8, {careful:.3f} at 1 false alarm / 100"


if __name__ == "__main__":
    main()
