"""The weights of the first pass's evidence: fitted to the spoken keywords, with the recogniser's formula."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.weights import WEIGHTS, Observations, _written, fit, log_chances
from sap2.errors import InputError
from sap2.inference.first_pass import Written, at_best_words, chances
from sap2.settings import FirstPassWeights

TRUE = FirstPassWeights(tag=1.0, likeness=2.0, likelihood=0.5, prior=-1.0)


def drawn(count: int, seed: int = 0):
    """Utterances with two places, two keywords in each; at most one of them was said, as the true weights have it."""
    rng = np.random.default_rng(seed)
    evidence, said = [], []
    for _ in range(count):
        tried = [
            Written(place, place + 1, f"{place}{name}", rng.normal(0, 2), rng.uniform(0, 2), "")
            for place in (0, 3) for name in "ab"
        ]  # fmt: skip
        gains = list(-rng.exponential(4.0, len(tried)))
        result = chances(tried, gains, TRUE)
        words = []
        for place in "03":
            rivals = [word for word in result if word[0] == place]
            shares = [math.exp(result[word]) for word in rivals]
            words.append(rng.choice([*rivals, ""], p=[*shares, max(0.0, 1 - sum(shares))]))
        evidence.append((tried, gains))
        said.append([word for word in words if word])
    return evidence, said


def test_fit_recovers_the_true_weights():
    evidence, said = drawn(1500)
    weights = fit(Observations([*evidence, ([], [])], [*said, []]))
    assert weights == pytest.approx({name: getattr(TRUE, name) for name in WEIGHTS}, abs=0.35)
    alone = fit(Observations(evidence, said), ("tag",), rivals=False)
    assert alone["tag"] > 0.2 and alone["likeness"] == alone["likelihood"] == 0


def test_rivals_and_more_evidence_are_worth_something():
    dev, test = Observations(*drawn(800)), Observations(*drawn(800, seed=1))

    def recall(*how):
        return float(_written(test, fit(dev, *how), how[1]).split()[1])

    everything = recall(WEIGHTS, True)
    assert everything > recall(WEIGHTS, False) + 0.02 and everything > recall(("tag",), True) + 0.02


def test_no_evidence_counts_against_a_keyword():
    """Settings refuse a weight below 0, which the tags of this dev set would get: the unspoken have the higher ones."""
    told, said = drawn(200)
    turned = [([replace(one, tag=-5 * one.tag) for one in tried], gains) for tried, gains in told]
    weights = fit(Observations(turned, said))
    assert weights["tag"] == 0.0
    FirstPassWeights(**weights)


def test_nothing_to_fit_is_told():
    with pytest.raises(InputError, match="none of dev's keywords"):
        fit(Observations([([], [])], [[]]))


def test_chances_are_those_of_the_recogniser():
    for evidence in drawn(5)[0]:
        best = at_best_words(*evidence)
        odds = [TRUE.tag * item.tag + TRUE.likeness * item.likeness + TRUE.likelihood * gain + TRUE.prior
                for gain, item in best]  # fmt: skip
        rivals = [[item.rivals(other) for _, other in best] for _, item in best]
        result = log_chances(torch.tensor([odds]), torch.tensor([rivals]))[0]
        assert result.tolist() == pytest.approx(list(chances(*evidence, TRUE).values()), abs=1e-5)
