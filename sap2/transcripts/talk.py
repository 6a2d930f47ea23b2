"""The transcript of a talk whose segments know their slides."""

from dataclasses import dataclass

from sap2.constants import Seconds
from sap2.transcripts.transcript import Segment, Transcript, keywords_in

__all__ = ["Talk", "TalkSegment"]


@dataclass(frozen=True)
class TalkSegment:
    """A stretch of a talk, and how its text came about.

    Args:
        text: What stage 2 wrote.
        pages: Those shown.
        listed: The list it was given: each keyword with its page (0 = of no page).
        kept: What stage 1 left of it, with scores.
        plain: What is heard without context; None where nobody asked.
        confidence, doubtful: As of `Segment`.
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
        """Keywords that stage 2 was given and wrote, with their pages."""
        return {word: self.listed[word] for word in keywords_in(self.text, list(self.kept))}


@dataclass(frozen=True)
class Talk:
    """A transcript whose segments know their slides."""

    segments: list[TalkSegment]
    duration: Seconds
    notices: tuple[str, ...] = ()  # what a person should know of how it was made
    left_out: tuple[tuple[Seconds, Seconds], ...] = ()  # segments without speech

    @property
    def transcript(self) -> Transcript:
        """The same as of a recording without slides, for the formats all transcripts have."""
        kept: dict[str, float] = {}
        for one in self.segments:
            for word, score in one.kept.items():
                kept[word] = max(score, kept.get(word, score))
        return Transcript(
            " ".join(filter(None, (one.text for one in self.segments))),
            predicted=list(kept),
            found=list(self.written),
            timings={"audio": self.duration},
            scores=kept,
            segments=[Segment(one.start, one.end, one.text, one.confidence, one.doubtful) for one in self.segments],
            left_out=list(self.left_out),
        )

    @property
    def written(self) -> dict[str, int]:
        """Keywords that acted, with the page each came from first."""
        found: dict[str, int] = {}
        for one in self.segments:
            for word, page in one.written.items():
                found.setdefault(word, page)
        return found
