"""The two stages together: which list goes where, long recordings, and what is written into a transcript."""

import numpy as np
import pytest
from fake_stage import FakeStage
from tiny import spoken

from sap2.errors import ModelError
from sap2.inference import Recogniser
from sap2.prompts import recognition_prompt
from sap2.settings import RecogniserSettings

PLAIN = RecogniserSettings.model_validate(
    {
        "pruning": {"max_list": 200, "threshold": None, "first_pass": None},
        "inference": {"max_segment": None, "segment_overlap": 1.0, "speech_only": False},
    }
)


def recogniser(answer=lambda frames, words: "text", select=lambda frames, words: "none", **changes) -> Recogniser:
    """Stage 2 answers with `answer`, stage 1 with `select`."""
    settings = PLAIN.with_changes(changes, "test")
    return Recogniser(settings, FakeStage(answer), FakeStage(select), FakeStage())


def test_call_prunes_then_transcribes_with_what_is_left():
    both = recogniser(lambda frames, words: "ask kathryn about maier", lambda frames, words: "MAIER, Smith")
    result = both(spoken(0.8), ["Kathryn", "Maier", "Myer", "Maier"])
    assert result.predicted == ["Maier"] == list(result.scores) and result.found == ["Kathryn", "Maier"]
    assert both.pruner.stage.lists == [["Kathryn", "Maier", "Myer"]]
    assert both.transcriber.stage.lists == [["Maier"]]
    assert set(result.timings) == {"encode", "prune", "transcribe", "audio"}
    assert result.timings["audio"] == pytest.approx(0.8, abs=0.05)


def test_an_empty_list_is_not_pruned():
    both = recogniser()
    result = both(spoken(0.5))
    assert (result.text, result.predicted, result.found) == ("text", [], [])
    assert not both.pruner.stage.lists and both.transcriber.stage.lists == [[]]


def test_pc_transcribes_with_the_whole_list():
    stage = FakeStage(lambda frames, words: "ask maier", method="pc")
    result = Recogniser(PLAIN, stage)(spoken(0.8), ["Kathryn", "Maier"])
    assert (result.text, result.predicted, result.found, result.scores) == (
        "ask maier", ["Kathryn", "Maier"], ["Maier"], {},
    )  # fmt: skip
    assert stage.lists == [["Kathryn", "Maier"]] and stage.prompts == [recognition_prompt(True)]


def test_pc_shortens_lists_by_its_own_first_pass():
    stage = FakeStage(lambda frames, words: "ask mayer", method="pc")
    settings = PLAIN.with_changes({"pruning": {"prefilter": 1}}, "test")
    assert Recogniser(settings, stage)(spoken(0.8), ["Kathryn", "Maier"]).predicted == ["Maier"]
    assert stage.lists == [[], ["Maier"]]


def test_jpis_selection_is_the_answers():
    stage = FakeStage(lambda *_: "Selected keywords are: MAIER.\nTranscription: ask maier", method="jpi")
    item = Recogniser(PLAIN, stage)
    result = item(spoken(0.8), ["Kathryn", "Maier"])
    assert (result.text, result.predicted, result.found) == ("ask maier", ["Maier"], ["Maier"])
    with pytest.raises(ModelError, match="method is jpi, which has no stage 1"):
        item.prune([spoken(0.5)], [["Kathryn"]])


def test_long_recordings_are_cut_and_their_results_joined():
    """The encoder takes 2 s: 5 s are three or more pieces, each asked about the whole list."""
    answers, pieces_asked = iter(["one", "", "three", "four", "five"]), iter(range(100))
    both = recogniser(lambda *_: next(answers), lambda *_: f"word{next(pieces_asked)}")
    speech = both.encode([spoken(5), spoken(1)])
    pieces = len(speech[0].spans)
    assert pieces >= 3 and len(speech[1].spans) == 1
    words = [f"word{n}" for n in range(9)]
    selected = both.prune(speech[:1], [words])[0]
    assert selected == words[:pieces]
    text = both.transcribe(speech[:1], [selected])[0]
    assert text.split() == [word for word in ["one", "", "three", "four", "five"][:pieces] if word]


def test_segments_have_the_exact_times_of_the_cuts():
    both = recogniser()
    audio = np.concatenate([spoken(1.5), np.zeros(4000, np.float32), spoken(2.2)])
    transcript = both(audio)
    assert len(transcript.segments) > 1 and transcript.segments[0].start == 0
    assert transcript.segments[-1].end == transcript.timings["audio"] == len(audio) / 16_000
    for segment, following in zip(transcript.segments, transcript.segments[1:], strict=False):
        assert segment.start < following.start <= segment.end and segment.end - segment.start <= both.segment_limit
    assert " ".join(segment.text for segment in transcript.segments if segment.text) == transcript.text


def test_words_heard_in_two_segments_are_written_once():
    said = ["so we turn to", "to Meyer", "then on to Zorvan"] * 2
    texts = iter(said)
    both = recogniser(lambda *_: next(texts))
    speech = both.encode([spoken(3.5)])
    [[first, second, third]] = [recording.spans for recording in speech]
    assert first[1] > second[0] and second[1] > third[0]
    transcript = both.recognise(speech, [["Meyer"]])[0]
    assert transcript.text == "so we turn to Meyer then on to Zorvan" and transcript.found == ["Meyer"]
    assert [segment.text for segment in transcript.segments] == ["so we turn to", "Meyer", "then on to Zorvan"]
    assert both.transcribe(speech) == [transcript.text]


def test_a_list_follows_its_segments_time():
    """Each segment is asked about, and written with, what was shown while it was said, and nothing else."""
    both = recogniser(lambda frames, words: words[0], lambda frames, words: ", ".join(words))
    names, calls = ["Meyer", "Zorvan", "Kathryn", "Quine"], []

    def shown(start, end):
        calls.append((start, end))
        return [names[len(calls) - 1], "always"]

    transcript = both.recognise([spoken(3.5), spoken(1)], [shown, ["other"]])[0]
    assert calls == [(segment.start, segment.end) for segment in transcript.segments] and len(calls) >= 2
    names = names[: len(calls)]
    for stage in (both.pruner.stage, both.transcriber.stage):
        assert stage.lists == [*([name, "always"] for name in names), ["other"]]
    assert transcript.predicted == ["Meyer", "always", *names[1:]] and transcript.found == names
    assert list(transcript.scores) == transcript.predicted


def test_segments_may_be_shorter_than_the_encoder_takes():
    both = recogniser(inference={"max_segment": 1.2, "segment_overlap": 0.0})
    spans = both.encode([spoken(4)])[0].spans
    assert both.segment_limit == 1.2
    assert all(end - start <= 1.2 for start, end in spans) and spans[0][1] == spans[1][0]


def test_each_encoder_runs_once_whatever_stages_share_it():
    stages = [FakeStage(), FakeStage(odds={"Maier": 1.0}, encoder="pruner"), FakeStage()]
    settings = PLAIN.with_changes({"pruning": {"first_pass": {}}}, "test")
    Recogniser(settings, *stages)(spoken(0.8), ["Maier"])
    assert [stage.encoded for stage in stages] == [1, 1, 0]


def test_other_settings_share_the_models():
    both = recogniser(lambda frames, words: "text", lambda frames, words: "ab3")
    stricter = both.with_settings(both.settings.with_changes({"pruning": {"threshold": -2.0}}, "test"))
    assert both.prune([spoken(0.5)], [["ab3"]]) == [["ab3"]] and stricter.prune([spoken(0.5)], [["ab3"]]) == [[]]
    assert stricter.pruner.stage is both.pruner.stage and stricter.transcriber.stage is both.transcriber.stage
    assert both.settings.pruning.threshold is None
