"""Only speech is transcribed, and doubtful segments are marked."""

import json

import numpy as np
import pytest
from fake_stage import FakeStage
from tiny import spoken, tone

from sap2.inference import Answer, Recogniser
from sap2.settings import RecogniserSettings
from sap2.transcripts.formats import subtitles, verbose
from sap2.transcripts.transcript import warning_of

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
