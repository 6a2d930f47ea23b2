"""Only speech is transcribed, and doubtful segments are marked."""

import json

import numpy as np
import pytest
from fake_stage import FakeStage
from tiny import spoken, tone

from sap2.inference import Answer, Recogniser, encoded
from sap2.settings import RecogniserSettings
from sap2.slides.keywords import Keyword
from sap2.slides.talk import transcribe_talk
from sap2.transcripts.formats import subtitles, verbose
from sap2.transcripts.talk_formats import talk_json
from sap2.transcripts.transcript import left_out_notice, warning_of

SETTINGS = RecogniserSettings.model_validate({"inference": {"max_segment": 2.0, "segment_overlap": 0.0}})
SILENCE = np.zeros(48_000, np.float32)
NOISE = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)


class Unsure(FakeStage):
    """Writes two tokens a segment, the second of the given probability."""

    probability = 1.0

    def answers(self, states, prompts, keywords, search, **options):
        assert options["scored"]
        return [Answer("ask kathryn", ("ask", " kathryn"), (0.0, float(np.log(self.probability)))) for _ in states]


def recogniser(settings=SETTINGS, probability=1.0):
    stage = Unsure()
    stage.probability = probability
    return Recogniser(settings, stage, FakeStage(lambda frames, words: "Kathryn"), FakeStage())


@pytest.mark.parametrize("wave", [SILENCE, NOISE, tone(3.0)], ids=["silence", "noise", "tone"])
def test_what_is_not_speech_gives_no_text_and_says_so(wave):
    transcript = recogniser()(wave, ["Kathryn"])
    assert (transcript.text, transcript.segments, transcript.found, transcript.predicted) == ("", [], [], [])
    assert warning_of(transcript) == "no speech was detected, so the text is empty"
    assert subtitles(transcript, "srt") == "" and verbose(transcript)["segments"] == []


def test_segments_without_speech_are_left_out_of_a_recording():
    transcript = recogniser()(np.concatenate([spoken(1.8), np.zeros(6 * 16_000, np.float32), spoken(1.8)]))
    assert transcript.text == "ask kathryn ask kathryn"
    assert transcript.segments[0].end < 3 and transcript.segments[-1].start > 6


@pytest.fixture
def music(monkeypatch):
    """Three segments, of which the second is taken for music."""
    monkeypatch.setattr(encoded, "segments", lambda *_: [(0.0, 1.5), (1.5, 3.0), (3.0, 4.5)])
    monkeypatch.setattr(encoded, "speech_spans", lambda _: [(0.2, 1.0), (3.2, 4.4)])
    return spoken(4.5)


def test_segments_without_speech_are_counted_in_the_output(music):
    transcript = recogniser()(music)
    assert len(transcript.segments) == 2 and transcript.left_out == [(1.5, 3.0)]
    assert verbose(transcript)["left_out"] == [{"start": 1.5, "end": 3.0}]
    assert left_out_notice(transcript) == "1 of 3 segments (1.5 s) was left out: it holds no speech"


def test_a_talk_counts_what_it_leaves_out_as_a_recording_does(music):
    talk = transcribe_talk(recogniser(), music, [Keyword(1, "Kathryn")], ["Kathryn"])
    assert [(one.start, one.text) for one in talk.segments] == [(0.0, "ask kathryn"), (3.0, "ask kathryn")]
    assert talk_json(talk)["left_out"] == [{"start": 1.5, "end": 3.0}]


def test_a_talk_is_cut_and_encoded_once(music, monkeypatch):
    looked = []
    monkeypatch.setattr(encoded, "speech_spans", lambda wave: looked.append(len(wave)) or [(0.2, 4.4)])
    once = recogniser()
    transcribe_talk(once, music, [Keyword(1, "Kathryn")], ["Kathryn"], explain=True)
    assert looked == [len(music)]
    assert once.transcriber.stage.encoded + once.pruner.stage.encoded == 3


def test_the_setting_switches_it_off():
    off = SETTINGS.with_changes({"pruning": {"speech_only": False}, "inference": {"speech_only": False}}, "test")
    assert recogniser(off)(SILENCE).text


def test_several_recordings_keep_their_places():
    texts = [
        transcript.text for transcript in recogniser().recognise([SILENCE, spoken(1.5), NOISE], [[], ["Kathryn"], []])
    ]
    assert texts == ["", "ask kathryn", ""]


def test_a_segments_confidence_is_the_mean_of_its_tokens():
    (segment,) = recogniser(probability=0.64)(spoken(1.5)).segments
    assert segment.confidence == pytest.approx(0.8) and not segment.doubtful


def test_doubtful_segments_are_marked_in_every_format():
    transcript = recogniser(probability=0.04)(spoken(1.5))
    assert transcript.segments[0].doubtful and "(?) ask kathryn" in subtitles(transcript, "vtt")
    row = json.loads(json.dumps(verbose(transcript)))
    assert row["segments"][0]["confidence"] == 0.2 and row["segments"][0]["doubtful"]
    assert row["warning"].startswith("1 of 1 segments are doubtful: the model was trained on other speech")
