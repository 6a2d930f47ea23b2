"""The embedded corpus: disjoint splits, lists with the spoken names, and equal output for equal seeds."""

import json

import pytest

from sap2.constants import SPLITS
from sap2.data.lectures import COMMON_WORDS, prepare_lectures
from sap2.data.names import split_of
from sap2.files import sha256
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.params import PrepareSection

SECTION = PrepareSection(
    seed=3, train_utterances=60, dev_utterances=20, test_utterances=120, list_size=20, slides=5, workers=1
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lectures") / "prepared"
    card = prepare_lectures(SECTION, folder)
    return folder, card, {split: read_manifest(folder / f"{split}.jsonl") for split in SPLITS}


def names(utterances):
    return {
        word
        for utterance in utterances
        for word in [*utterance.text.split(), *utterance.keywords]
        if word not in COMMON_WORDS
    }


def skeleton(text):
    return " ".join(word if word in COMMON_WORDS else "NAME" for word in text.split())


def test_test_and_dev_names_never_occur_in_training(corpus):
    _, _, splits = corpus
    for held_out in ("dev", "test"):
        assert not names(splits["train"]) & names(splits[held_out])
        assert {split_of(skeleton(utterance.text)) for utterance in splits[held_out]} == {held_out}


def test_spoken_names_are_listed_and_lists_are_full(corpus):
    for utterances in corpus[2].values():
        for utterance in utterances:
            said = {word for word in utterance.text.split() if word not in COMMON_WORDS}
            assert said == set(spoken(utterance))
            assert len(utterance.keywords) == len(set(utterance.keywords)) == SECTION.list_size


def test_audio_is_as_long_as_the_manifest_says(corpus):
    soundfile = pytest.importorskip("soundfile")
    folder, _, splits = corpus
    for utterance in splits["test"]:
        info = soundfile.info(audio_path(utterance, folder / "test.jsonl"))
        assert info.samplerate == 16_000
        assert info.duration == pytest.approx(utterance.duration, abs=0.001)


def test_the_card_counts_what_was_made(corpus):
    folder, card, splits = corpus
    assert json.loads((folder / "card.json").read_text()) == card
    for split, utterances in splits.items():
        figures = card["splits"][split]
        assert figures["utterances"] == len(utterances)
        assert figures["mean_list_size"] == SECTION.list_size and figures["talks"] == len(
            {utterance.talk for utterance in utterances}
        )
        assert card["manifests"][split] == sha256(folder / f"{split}.jsonl")
        assert figures["share_with_spoken_keyword"] == pytest.approx(
            sum(bool(spoken(utterance)) for utterance in utterances) / len(utterances), abs=1e-3
        )


def test_the_card_is_for_people_too_and_names_the_licence(corpus):
    folder, card, _ = corpus
    page = (folder / "card.md").read_text()
    assert page.startswith("# Embedded lectures") and f"licence: {card['licence']}" in page
    assert all(f"`{digest}`" in page for name in ("manifests", "audio") for digest in card[name].values())


def test_the_number_of_workers_does_not_change_the_corpus(corpus, tmp_path):
    folder, card, _ = corpus
    again = prepare_lectures(SECTION.model_copy(update={"workers": 2}), tmp_path / "again")
    assert again == card
    path = next((folder / "audio").iterdir()).name
    assert sha256(folder / "audio" / path) == sha256(tmp_path / "again" / "audio" / path)
