"""The CTC head beside a base: saved and read whole, and independent of padding."""

import pytest
import torch

from sap2.errors import ModelError
from sap2.model.ctc import CTC_FILE, CtcHead

MARKS = ("k", "a", "T", "r", "I", "n")


def head() -> CtcHead:
    torch.manual_seed(0)
    return CtcHead(16, 20, 3, MARKS, hidden=8, blocks=2, kernel=3).half().float().eval()


def test_a_saved_head_scores_as_before(tmp_path):
    assert CtcHead.load(tmp_path) is None and CtcHead.load("owner/base") is None
    head().save(tmp_path)
    read, states, mask = CtcHead.load(tmp_path), torch.randn(1, 5, 16), torch.ones(1, 5, dtype=torch.bool)
    assert read.phonemes == MARKS and read.blank == 3
    for scores, expected, units in zip(read(states, mask), head()(states, mask), (20, 1 + len(MARKS)), strict=True):
        torch.testing.assert_close(scores, expected)
        assert scores.shape == (1, 5, units)
        torch.testing.assert_close(scores.exp().sum(-1), torch.ones(1, 5))


def test_padding_does_not_change_the_scores():
    states, mask = torch.randn(2, 9, 16), torch.arange(9) < torch.tensor([[9], [4]])
    alone, padded = head()(states[1:, :4], mask[1:, :4]), head()(states, mask)
    torch.testing.assert_close(padded[0][1, :4], alone[0][0])


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_head_is_refused_with_the_way_out(tmp_path, damage):
    head().save(tmp_path)
    path = tmp_path / CTC_FILE
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        wrong = head()
        wrong.settings["hidden"] = 9
        wrong.save(tmp_path)
    with pytest.raises(ModelError, match="delete it to decode without CTC") as caught:
        CtcHead.load(tmp_path)
    assert str(path) in str(caught.value)
