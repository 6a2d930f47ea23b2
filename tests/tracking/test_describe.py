"""A version's description states how it uses lists, without stages that were not trained."""

import pytest

from sap2.tracking.describe import describe

PARAMS = {"pruner": {"epochs": 3.0}, "recogniser": {"epochs": 1.0, "lists": "oracle"}, "lora": {"rank": 8}}
METRICS = {"predicted": {"wer": 5.0, "b_wer": 25.0}, "pruning": {"listed_per_utterance": 20.0}, "utterances": 400}


@pytest.mark.parametrize(
    ("model", "adapters", "headline"),
    [
        ({}, "LoRA, rank 8; pruner 3.0 epochs; recogniser 1.0 epochs on oracle lists", "with both stages"),
        ({"method": "jpi"}, "LoRA, rank 8; method jpi; recogniser 1.0 epochs\n", "with method jpi"),
    ],
)
def test_the_method_and_what_was_trained_for_it_are_named(model, adapters, headline):
    text = describe(PARAMS | {"model": model}, METRICS, "abc", False)
    assert adapters in text and headline in text.splitlines()[0]


def test_the_data_line_says_how_long_the_lists_were():
    params = PARAMS | {"prepare": {"source": "lectures"}}
    assert "**Data** lectures, keyword lists of 20; 400 test utterances" in describe(params, METRICS, "abc", False)
    assert "keyword lists of ?" in describe(params, {}, "abc", False)
