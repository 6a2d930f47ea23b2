"""The transcript of a talk, with the slides shown during each segment."""

from dataclasses import dataclass

from sap2.constants import Seconds
from sap2.transcripts.transcript import Segment, Transcript, keywords_in

__all__ = ["Talk", "TalkSegment"]


@dataclass(frozen=True)
class TalkSegment:
    """A segment of a talk, with its slides and how its text was made.

    Args:
        text: The text by stage 2.
        pages: The pages shown.
        listed: The keyword list: each keyword with its page (0 = no page).
        kept: The keywords stage 1 selected, with scores.
        plain: The text without context; None = not requested.
        confidence, doubtful: See `Segment`.
    """

    start: Seconds
    end: Seconds
    text: str
    pages: tuple[int, ...]
    listed: dict[str, int]
    kept: dict[str, float]
    plain: str | None = None
    confidence: float | None = None
    doubtful: bool = False

    @property
    def written(self) -> dict[str, int]:
        """Selected keywords that occur in the text, with their pages."""
        return {word: self.listed[word] for word in keywords_in(self.text, list(self.kept))}


@dataclass(frozen=True)
class Talk:
    """A talk's transcript, with the slides of its segments."""

    segments: list[TalkSegment]
    duration: Seconds
    notices: tuple[str, ...] = ()  # notices for the user about how it was made
    left_out: tuple[tuple[Seconds, Seconds], ...] = ()  # segments without speech

    @property
    def transcript(self) -> Transcript:
        """The transcript without slides, for the formats of all transcripts."""
        kept: dict[str, float] = {}
        for segment in self.segments:
            for word, score in segment.kept.items():
                kept[word] = max(score, kept.get(word, score))
        return Transcript(
            " ".join(filter(None, (segment.text for segment in self.segments))),
            predicted=list(kept),
            found=list(self.written),
            timings={"audio": self.duration},
            scores=kept,
            segments=[
                Segment(segment.start, segment.end, segment.text, segment.confidence, segment.doubtful)
                for segment in self.segments
            ],
            left_out=list(self.left_out),
        )

    @property
    def written(self) -> dict[str, int]:
        """Selected keywords in the text, each with its first page."""
        pages: dict[str, int] = {}
        for segment in self.segments:
            for word, page in segment.written.items():
                pages.setdefault(word, page)
        return pages
