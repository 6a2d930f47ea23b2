"""Transcripts as subtitles."""

from sap2.transcripts.formats import subtitles
from sap2.transcripts.transcript import Segment, Transcript


def test_cues_of_overlapping_segments_follow_one_another():
    times = [(0.0, 10.0, "one"), (9.0, 12.0, ""), (9.5, 15.0, "two"), (16.0, 17.0, "three")]
    segments = [Segment(*one) for one in times]
    shown = subtitles(Transcript("one two three", [], [], {"audio": 17.0}, segments=segments), "srt")
    shown_times = [line for line in shown.splitlines() if "-->" in line]
    assert shown_times == [
        "00:00:00,000 --> 00:00:10,000", "00:00:10,000 --> 00:00:15,000", "00:00:16,000 --> 00:00:17,000",
    ]  # fmt: skip
