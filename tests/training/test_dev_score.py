"""The score of early stopping equals the score of the saved adapter."""

import pytest

from sap2.errors import InputError
from sap2.evaluation import KeywordCounts
from sap2.inference import load_pruner
from sap2.manifest import audio_path, read_manifest, spoken
from sap2.params import RecogniserSection, TrainSection
from sap2.settings import PrunerSettings
from sap2.training.dev_score import DevScore


@pytest.mark.parametrize("cached", [True, False])
def test_the_score_is_that_of_the_saved_adapter(job, corpus, tmp_path, cached):
    settings = {"max_steps": 12, "save_steps": 4, "early_stopping": 9, "cache_encoder": cached}
    summary = job(stage="pruner", learning_rate=3e-2, **settings)
    assert 0 < summary["best_score"] < 1
    rows = read_manifest(corpus / "dev.jsonl")
    audio = [audio_path(row, corpus / "dev.jsonl") for row in rows]
    plain = PrunerSettings(threshold=None, first_pass=None, speech_only=False)
    answers = load_pruner(corpus / "base", tmp_path / "adapter", plain).select(audio, [row.keywords for row in rows])
    counts = KeywordCounts()
    for row, answer in zip(rows, answers, strict=True):
        got, expected = set(answer), set(spoken(row))
        counts += KeywordCounts(tp=len(got & expected), fp=len(got - expected), fn=len(expected - got))
    assert summary["best_score"] == pytest.approx(counts.f1)


def test_stage_2_is_scored_by_the_words_of_its_lists(corpus, monkeypatch):
    rows = read_manifest(corpus / "dev.jsonl")
    dev = DevScore("recogniser", RecogniserSection(), rows, corpus / "dev.jsonl", None)
    words = [row.text if number < 4 else "the wrong words" for number, row in enumerate(rows)]
    monkeypatch.setattr(dev, "_answers", lambda model, numbers: {number: words[number] for number in numbers})
    assert dev(None) == pytest.approx(100 * 2 / 6)  # each text has one list word


def test_stage_2_is_given_the_lists_it_will_be_given(corpus):
    rows = read_manifest(corpus / "dev.jsonl")
    assert DevScore("recogniser", RecogniserSection(), rows, corpus / "dev.jsonl", None).lists == [
        row.predicted for row in rows
    ]
    bare = [row.model_copy(update={"predicted": None}) for row in rows]
    oracle = DevScore("recogniser", RecogniserSection(), bare, corpus / "dev.jsonl", None).lists
    assert oracle == [spoken(row) for row in rows]


def test_a_bounded_number_is_taken_evenly(corpus):
    rows = read_manifest(corpus / "dev.jsonl")
    few = DevScore("pruner", TrainSection(eval_utterances=3), rows, corpus / "dev.jsonl", None)
    assert few.rows == [0, 2, 4] and [utterance.id for utterance in few.utterances] == [
        rows[row].id for row in few.rows
    ]


def test_dev_without_a_spoken_keyword_is_an_error_with_a_way_out(corpus):
    rows = [row.with_keywords(["unsaid"]) for row in read_manifest(corpus / "dev.jsonl")]
    with pytest.raises(InputError, match="no keyword is spoken in the 6 dev utterances .* early_stopping to null"):
        DevScore("pruner", TrainSection(), rows, corpus / "dev.jsonl", None)
