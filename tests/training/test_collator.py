"""Batches: the same whether speech comes as waveforms or as kept states; nothing is cut silently."""

import pytest
import torch

from sap2.errors import InputError
from sap2.manifest import audio_path, read_manifest
from sap2.model import load_model, load_processor, processor_fields
from sap2.params import SpecAugment, TrainSection
from sap2.training.augment import Augmenter
from sap2.training.collator import Batches, Collator, Examples, only
from sap2.training.encoder_cache import EncodedSpeech
from sap2.training.lists import ListDrawer


@pytest.fixture(scope="module")
def parts(corpus, tmp_path_factory):
    manifest = corpus / "train.jsonl"
    model = load_model(corpus / "base", dtype=torch.float32)
    processor = load_processor(corpus / "base", **processor_fields(model.config))
    rows = read_manifest(manifest)
    examples = Examples(rows, ListDrawer("pruner", rows, seed=1, list_sizes=(2, 6)))
    encoded = EncodedSpeech(tmp_path_factory.mktemp("kept"), model, processor, [audio_path(r, manifest) for r in rows])
    encoded.fill(torch.device("cpu"))
    return model, examples, Collator(processor, manifest), Collator(processor, manifest, encoded)


def test_kept_states_give_the_same_loss_as_waveforms(parts):
    model, examples, waves, kept = parts
    batch = [examples[index] for index in (0, 1, 2, 7)]
    assert "input_features" in waves(batch) and "input_features" not in kept(batch)
    with torch.no_grad():
        torch.testing.assert_close(model(**waves(batch)).loss, model(**kept(batch)).loss, atol=1e-2, rtol=0)


def test_length_is_the_number_of_tokens(parts):
    _, examples, waves, kept = parts
    for collator in (waves, kept):
        for index in range(6):
            assert collator.length(examples[index]) == collator([examples[index]])["input_ids"].shape[1]


def test_speed_changes_the_length_and_masks_the_features(parts, corpus):
    _, plain, waves, _ = parts
    section = TrainSection(speed=[0.8, 1.25], spec_augment=SpecAugment(), cache_encoder=False)
    augmenter = Augmenter(section, limit=2.0)
    examples = Examples(plain.utterances, plain.drawer, augmenter=augmenter)
    collator = Collator(waves.processor, corpus / "train.jsonl", augmenter=augmenter)
    assert {examples[index].speed for index in range(12)} == {0.8, 1.25}
    for index in range(6):
        batch, bare = collator([examples[index]]), waves([examples[index]])
        assert collator.length(examples[index]) == batch["input_ids"].shape[1] != waves.length(plain[index])
        assert not torch.equal(batch["input_features"], bare["input_features"])
        assert all(torch.equal(batch[name], bare[name]) for name in batch if name != "input_features")


def test_tags_have_each_keywords_position_and_label(parts, corpus):
    _, examples, waves, _ = parts
    batch = [examples[index] for index in range(8)]
    tagged = Collator(waves.processor, corpus / "train.jsonl", tagging=True)(batch)
    lists = [example.draw.keywords for example in batch]
    assert torch.equal(tagged["keyword_positions"], waves.processor.keyword_positions(tagged["input_ids"], lists))
    for row, example in enumerate(batch):
        labels = [word in example.draw.target.split(", ") for word in example.draw.keywords]
        padding = [-100] * (tagged["keyword_labels"].shape[1] - len(labels))
        assert tagged["keyword_labels"][row].tolist() == [*map(int, labels), *padding]
    assert "keyword_positions" not in waves(batch)


def test_planned_batches_are_collated_as_they_stand(parts):
    _, examples, waves, _ = parts
    batches = Batches(examples, [[(0, 3), (0, 1)], [(1, 2)]], waves)
    assert len(batches) == 2
    expected = waves([examples.example(0, 3), examples.example(0, 1)])
    assert all(torch.equal(only([batches[0]])[name], expected[name]) for name in expected)
    assert batches[1]["input_ids"].shape[0] == 1


def test_labels_hold_the_answer_and_nothing_else(parts):
    _, examples, waves, _ = parts
    batch = waves([examples[0]])
    answer = batch["labels"][0][batch["labels"][0] != -100]
    assert waves.processor.tokenizer.decode(answer) == examples[0].draw.target + "<|im_end|>"


def test_a_list_too_long_is_an_error_that_names_the_utterance(parts):
    _, examples, waves, _ = parts
    with pytest.raises(InputError, match=r"train.jsonl \(train-0\): 99 tokens .* max_length allows 50; raise it"):
        waves.check(examples[0], 99, 50)
