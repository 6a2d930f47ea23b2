"""Transcripts as JSON, SubRip and WebVTT, for both `sap2 transcribe` and the server."""

from collections.abc import Sequence
from typing import Any, Literal

from sap2.transcripts.transcript import Segment, Transcript, warning_of

__all__ = ["cue_times", "subtitles", "verbose"]


def cue_times(segments: Sequence[Segment]) -> list[tuple[float, float]]:
    """Return start and end of each segment without overlaps: shared time belongs to the earlier segment.

    A segment without words gives its shared time to the later segment.

    >>> cue_times([Segment(0.0, 3.0, "a"), Segment(2.5, 4.0, "b"), Segment(3.5, 6.0, ""), Segment(5.5, 8.0, "c")])
    [(0.0, 3.0), (3.0, 4.0), (4.0, 5.5), (5.5, 8.0)]
    """
    times: list[tuple[float, float]] = []
    before = 0.0
    for number, segment in enumerate(segments):
        start, end = max(segment.start, before), segment.end
        if not segment.text and number + 1 < len(segments):
            end = min(end, segments[number + 1].start)
        before = max(start, end)
        times.append((start, before))
    return times


def verbose(transcript: Transcript) -> dict[str, Any]:
    """Convert a transcript to JSON: text, length, segments with times and confidence, segments left out for lack of
    speech, and keywords."""
    return {
        "task": "transcribe",
        "duration": round(transcript.timings["audio"], 3),
        "text": transcript.text,
        "warning": warning_of(transcript),
        "segments": [
            {
                "id": number,
                "start": round(start, 3),
                "end": round(end, 3),
                "text": segment.text,
                "confidence": None if segment.confidence is None else round(segment.confidence, 4),
                "doubtful": segment.doubtful,
            }
            for number, (segment, (start, end)) in enumerate(
                zip(transcript.segments, cue_times(transcript.segments), strict=True)
            )
        ],
        "left_out": [{"start": round(start, 3), "end": round(end, 3)} for start, end in transcript.left_out],
        "keywords": {
            "found": transcript.found,
            "predicted": transcript.predicted,
            "scores": {word: round(score, 4) + 0.0 for word, score in transcript.scores.items()},
        },
    }


def subtitles(transcript: Transcript, kind: Literal["srt", "vtt"]) -> str:
    """Write a cue per segment with words, with `(?)` before doubtful segments; see `cue_times`."""
    point = "," if kind == "srt" else "."
    blocks: list[str] = []
    for segment, (start, end) in zip(transcript.segments, cue_times(transcript.segments), strict=True):
        if segment.text:
            times = f"{_time(start, point)} --> {_time(end, point)}"
            mark = "(?) " if segment.doubtful else ""
            blocks.append(f"{len(blocks) + 1}\n{times}\n{mark}{_plain(segment.text, kind)}\n")
    return ("WEBVTT\n\n" if kind == "vtt" else "") + "\n".join(blocks)


def _time(seconds: float, point: str) -> str:
    """
    >>> _time(3725.0416, ",")
    '01:02:05,042'
    """
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"


def _plain(text: str, kind: str) -> str:
    """Escape `<`, `&` and `-->`, which are markup in WebVTT."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") if kind == "vtt" else text
