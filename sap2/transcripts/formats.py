"""Transcripts as JSON, SubRip and WebVTT: for `sap2 transcribe` and for the server alike."""

from typing import Any, Literal

from sap2.transcripts.transcript import Transcript, warning_of

__all__ = ["subtitles", "verbose"]


def verbose(transcript: Transcript) -> dict[str, Any]:
    """Text, length, segments with their times in seconds and confidence, and what became of the keyword list."""
    return {
        "task": "transcribe",
        "duration": round(transcript.timings["audio"], 3),
        "text": transcript.text,
        "warning": warning_of(transcript),
        "segments": [
            {
                "id": number,
                "start": round(one.start, 3),
                "end": round(one.end, 3),
                "text": one.text,
                "confidence": None if one.confidence is None else round(one.confidence, 4),
                "doubtful": one.doubtful,
            }
            for number, one in enumerate(transcript.segments)
        ],
        "keywords": {
            "found": transcript.found,
            "predicted": transcript.predicted,
            "scores": {word: round(score, 4) + 0.0 for word, score in transcript.scores.items()},
        },
    }


def subtitles(transcript: Transcript, kind: Literal["srt", "vtt"]) -> str:
    """A cue for each segment that holds words, `(?)` before a doubtful one; where two overlap, the first keeps the
    time."""
    point = "," if kind == "srt" else "."
    blocks, before = [], 0.0
    for one in transcript.segments:
        if one.text:
            times = f"{_time(max(one.start, before), point)} --> {_time(one.end, point)}"
            mark = "(?) " if one.doubtful else ""
            blocks.append(f"{len(blocks) + 1}\n{times}\n{mark}{_plain(one.text, kind)}\n")
            before = one.end
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
    """In WebVTT `<`, `&` and `-->` are markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") if kind == "vtt" else text
