"""A base's phoneme head is read with the base, and its frames are what keywords are spotted in."""

import numpy as np
import pytest
import torch
from tiny import build_tiny_base, tone

from sap2.errors import ModelError
from sap2.inference import load_recogniser
from sap2.inference.phonemes import PHONEMES_FILE, PhonemeHead
from sap2.settings import RecogniserSettings

MARKS = ("k", "a", "T", "r", "I", "n")


def head(hidden: int = 32) -> PhonemeHead:
    torch.manual_seed(0)
    return PhonemeHead(torch.randn(1 + len(MARKS), hidden), torch.randn(1 + len(MARKS)), MARKS)


def test_a_saved_head_is_read_as_it_was(tmp_path):
    assert PhonemeHead.load(tmp_path) is None and PhonemeHead.load("owner/base") is None
    head().save(tmp_path)
    read, speech = PhonemeHead.load(tmp_path), torch.randn(5, 32)
    assert read.marks == MARKS and torch.equal(read(speech), head()(speech))
    assert read(speech).exp().sum(-1) == pytest.approx(torch.ones(5))


@pytest.mark.parametrize("damage", ["cut", "marks"])
def test_a_damaged_head_is_refused_with_the_way_out(tmp_path, damage):
    head().save(tmp_path)
    path = tmp_path / PHONEMES_FILE
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        PhonemeHead(head().weight, head().bias, MARKS[:-1]).save(tmp_path)
    with pytest.raises(ModelError, match="delete it to spot tokens instead") as caught:
        PhonemeHead.load(tmp_path)
    assert str(path) in str(caught.value)


def test_a_base_with_a_head_spots_phonemes(tmp_path):
    base = build_tiny_base(tmp_path / "base", positions=100)
    head().save(base)
    settings = RecogniserSettings().with_changes(
        {"pruning": {"prefilter": {"keep": 1}, "first_pass": None, "speech_only": False},
         "inference": {"max_segment": None, "speech_only": False, "max_new_tokens": 3}}, "test",
    )  # fmt: skip
    loaded = load_recogniser(base, settings=settings)
    stage = loaded.pruner.base
    (states,) = stage.encode([tone(0.8)], 1)
    scores, blank = stage.frame_scores(states)
    assert blank == 0 and scores.shape == (len(states), 1 + len(MARKS))
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    assert loaded.index(["Kathryn"]).tree.tokens.tolist() == [1, 2, 3, 4, 5, 6]
    assert loaded(tone(0.8), ["Kathryn", "Maier"]).segments, "no CTC over tokens is needed"
