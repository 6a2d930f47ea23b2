"""Transcripts as subtitles and JSON."""

from hypothesis import given
from hypothesis import strategies as st

from sap2.transcripts.formats import cue_times, subtitles, verbose
from sap2.transcripts.transcript import Segment, Transcript


def test_cues_of_overlapping_segments_do_not_overlap():
    times = [(0.0, 10.0, "one"), (9.0, 12.0, ""), (9.5, 15.0, "two"), (16.0, 17.0, "three")]
    segments = [Segment(*item) for item in times]
    shown = subtitles(Transcript("one two three", [], [], {"audio": 17.0}, segments=segments), "srt")
    shown_times = [line for line in shown.splitlines() if "-->" in line]
    assert shown_times == [
        "00:00:00,000 --> 00:00:10,000", "00:00:10,000 --> 00:00:15,000", "00:00:16,000 --> 00:00:17,000",
    ]  # fmt: skip


def test_json_segments_do_not_overlap():
    times = [(0.0, 10.0, "one"), (9.0, 12.0, ""), (9.5, 15.0, "two"), (14.0, 14.5, "within"), (14.2, 20.0, "three")]
    segments = [Segment(*item) for item in times]
    rows = verbose(Transcript("", [], [], {"audio": 20.0}, segments=segments))["segments"]
    assert [(row["start"], row["end"]) for row in rows] == [(0, 10), (10, 10), (10, 15), (15, 15), (15, 20)]
    assert [row["text"] for row in rows] == [text for _, _, text in times]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 30), st.sampled_from(["", "words"])), max_size=12))
def test_cues_never_overlap_and_never_leave_their_segments(spans):
    segments = [Segment(start, start + length, text) for start, length, text in sorted(spans)]
    times = cue_times(segments)
    assert all(start <= end for start, end in times)
    assert all(before[1] <= after[0] for before, after in zip(times, times[1:], strict=False))
    for segment, (start, end) in zip(segments, times, strict=True):
        assert segment.start <= start and (end <= segment.end or end == start)
