"""The base's training data: new spellings and lists each time, nothing of the held-out splits."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from tiny import build_tiny_base

from sap2 import prompts
from sap2.base import recipe
from sap2.base.pretraining import REAL_NAMES, Recording, Sampler, phoneme_labels, unit_labels
from sap2.base.recipe import Batches, Heads, losses, matching_losses
from sap2.data.lectures import COMMON_WORDS, draw_sentence
from sap2.data.names import FAMILIES, split_of
from sap2.model import load_model, load_processor


@pytest.fixture(scope="module")
def recordings():
    rng = np.random.default_rng(0)
    return [Recording(draw_sentence("train", rng), torch.randn(60, 16).half()) for _ in range(40)]


def test_spelling_and_list_are_drawn_anew_each_time(recordings):
    sampler = Sampler(0, sounds=200)
    named = next(recording for recording in recordings if recording.sentence.sounds)
    assert len({sampler.listing(named, 8).keywords[0] for _ in range(10)}) > 5


def test_no_real_name_is_one_of_the_corpus():
    assert not set(REAL_NAMES) & {name for family in FAMILIES for name in family}
    assert len(set(REAL_NAMES)) == len(REAL_NAMES) and not set(REAL_NAMES) & COMMON_WORDS


def test_every_listed_name_is_of_the_train_split_and_marked_rightly(recordings):
    sampler = Sampler(0, sounds=200)
    for recording in recordings:
        example = sampler.example(recording, 10)
        spoken = {sound.key for sound in recording.sentence.sounds}
        for sound, mark in zip(example.sounds, example.is_spoken, strict=True):
            assert sound.key in REAL_NAMES or split_of(sound.key) == "train"
            assert mark == (sound.key in spoken)
        if example.prompt == prompts.pruning_prompt():
            chosen = [name for name, mark in zip(example.keywords, example.is_spoken, strict=True) if mark]
            assert example.target == prompts.pruning_target(chosen)


def test_keyword_ends_are_the_last_windows(tmp_path):
    processor = load_processor(build_tiny_base(tmp_path), window=2)
    keywords = ["kathryn", "meyer", "myer"]
    ends = processor.keyword_ends(keywords)
    assert ends == sorted(set(ends))
    assert ends[-1] == processor.tokenise_context(keywords)[1][-1]


def test_phonemes_follow_the_sentence(recordings):
    labels = [phoneme_labels(recording.sentence) for recording in recordings]
    assert all(labels)
    invented = [sound for recording in recordings for sound in recording.sentence.sounds if sound.units]
    assert all(len(unit_labels(sound)) == 5 and min(unit_labels(sound)) >= 0 for sound in invented)


def test_both_losses_train_projector_and_decoder(tmp_path, recordings, monkeypatch):
    monkeypatch.setattr(recipe, "SPELL_LAYER", 1)
    monkeypatch.setattr(recipe, "MATCH_LAYER", 1)
    monkeypatch.setattr(recipe, "HEAD_SLOTS", (0, 1, 2, 3))
    base = build_tiny_base(tmp_path)
    model, processor = load_model(base, weighting="mean", attn_implementation="eager"), load_processor(base)
    phonemes = {m: i for i, m in enumerate(sorted({m for r in recordings for m in phoneme_labels(r.sentence)}), 1)}
    heads, sampler = Heads(32, len(phonemes)), Sampler(0, sounds=100)
    model.train()
    batch = next(Batches(recordings, 8, seed=0))
    for run, examples in (
        (matching_losses, [sampler.listing(recording, 6) for recording in batch]),
        (losses, [sampler.example(recording, 6) for recording in batch]),
    ):
        model.zero_grad()
        calls = []
        with model.model.multi_modal_projector.register_forward_hook(lambda *_, calls=calls: calls.append(1)):
            parts = run(model, heads, examples, processor, phonemes)
        assert len(calls) == 1  # speech is projected once, for the answer and for CTC
        assert {"ctc", "units", "pieces", "match"} <= set(parts)
        sum(value for name, value in parts.items() if value.requires_grad).backward()
        assert model.model.multi_modal_projector.linear.weight.grad.abs().sum() > 0
        assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_recordings_come_back_without_pickle(tmp_path):
    rng = np.random.default_rng(0)
    made = [Recording(draw_sentence("train", rng), torch.rand(3, 4).half()) for _ in range(20)]
    torch.save([(asdict(one.sentence), one.states) for one in made], tmp_path / "recordings.pt")
    for one, other in zip(recipe.read_recordings(tmp_path / "recordings.pt"), made, strict=True):
        assert one.sentence == other.sentence and torch.equal(one.states, other.states)
