"""Batches of the base's training: labels at the right positions, features equal to the processor's."""

import numpy as np
import pytest
import torch
from tiny import build_tiny_base

from sap2.base import losses
from sap2.base.batches import SLOTS, collate, phoneme_slots
from sap2.base.corpus import Item
from sap2.base.sampler import Example, Keyword
from sap2.base.sound import Sounds
from sap2.model import load_model, load_processor
from sap2.prompts import recognition_prompt

PHONEMES = {mark: number for number, mark in enumerate("-abcdefghijklmnopqrstuvwxyz", start=1)}
EXAMPLES = [
    Example(recognition_prompt(True), [Keyword("kathryn", tuple("katrin"), True), Keyword("meyer", (), False)],
            "ask kathryn", "ask kathryn", tuple("ask")),
    Example(recognition_prompt(False), [], "now", "now", tuple("now")),
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return build_tiny_base(tmp_path_factory.mktemp("tiny"))


def test_labels_point_at_the_keyword_and_at_its_copy(base):
    processor = load_processor(base, window=2, leading_blank=True)
    batch = collate(EXAMPLES, [5, 3], processor, PHONEMES)
    labels, ids, context = batch["labels"], batch["inputs"]["input_ids"], "<|context|>"
    tokens = processor.tokenizer.convert_ids_to_tokens(ids[0, labels.columns])
    assert labels.rows.tolist() == [0, 0] and tokens == [context] * 2 and labels.spoken.tolist() == [True, False]
    assert labels.slots[1].tolist() == [-100] * SLOTS and (labels.slots[0] > 0).all()
    rows, columns, _, keys = labels.pointers.T
    copied = processor.tokenizer.decode(ids[rows, columns + 1])
    assert copied.strip() == "kathryn" and set(keys.tolist()) == {int(labels.columns[0])}


def test_a_short_keyword_fills_its_slots():
    assert phoneme_slots(["a", "b"], PHONEMES) == [PHONEMES[mark] for mark in ("a", "b", "-", "-", "-", "a", "b")]


def test_attention_of_the_copies_is_the_models_own(base, monkeypatch):
    monkeypatch.setattr(losses, "MATCH_LAYER", 1)
    monkeypatch.setattr(losses, "PIECES", 2)
    model = load_model(base, weighting="mean", attn_implementation="eager", dtype=torch.float32)
    batch = collate(EXAMPLES, [5, 3], load_processor(base, window=2, leading_blank=True), PHONEMES)
    states = torch.randn(2, 5, model.config.audio_config.d_model)
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    output = model(
        **batch["inputs"], speech_states=states, speech_mask=mask, output_attentions=True, output_hidden_states=True
    )
    pointers = batch["labels"].pointers.clone()
    pointers[:, 2].clamp_(max=1)
    rows, columns, pieces, keys = pointers.T
    heads = torch.arange(2)
    looked_at = torch.where(heads == pieces[:, None], keys[:, None], 0)
    expected = -output.attentions[1][rows[:, None], heads, columns[:, None], looked_at].log().clamp(min=-14).mean()
    assert torch.allclose(
        losses._pointing(model.model.language_model, output.hidden_states, pointers), expected, atol=1e-4
    )


def test_features_equal_the_processors(base, tmp_path):
    rng = np.random.default_rng(0)
    waves = [(rng.standard_normal(size) * 3000).astype(np.int16) for size in (16_000, 9_000)]
    (tmp_path / "a").mkdir()
    np.concatenate(waves).tofile(tmp_path / "a" / "samples.i16")
    items = [Item("a", 0, 16_000, ""), Item("a", 16_000, 9_000, "")]
    processor = load_processor(base)
    sounds = Sounds(tmp_path, items, processor.feature_extractor, "cpu")
    mel, mask = sounds.features(torch.tensor([0, 1]), torch.tensor([16_000, 9_000]))
    expected = processor.features([wave.astype(np.float32) / 32768 for wave in waves])
    assert torch.allclose(mel, expected["input_features"], atol=1e-4)
    assert torch.equal(mask.long(), expected["feature_attention_mask"])


def test_augmentation_is_the_seeds(base, tmp_path):
    (tmp_path / "a").mkdir()
    (np.sin(np.arange(16_000) / 9) * 9000).astype(np.int16).tofile(tmp_path / "a" / "samples.i16")
    sounds = Sounds(tmp_path, [Item("a", 0, 16_000, "")], load_processor(base).feature_extractor, "cpu")
    faster = [sounds.features(torch.tensor([0]), torch.tensor([15_000]), seed=seed)[0] for seed in (1, 1, 2)]
    assert torch.equal(faster[0], faster[1]) and not torch.equal(faster[0], faster[2])
    assert faster[0].shape[-1] < sounds.features(torch.tensor([0]), torch.tensor([16_000]))[0].shape[-1]
