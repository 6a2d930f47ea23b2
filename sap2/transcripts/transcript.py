"""The text of a recording, segment by segment, and what became of its keyword list."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sap2.constants import Seconds
from sap2.spelling import forms, occurrences

__all__ = ["Segment", "Transcript", "keywords_in", "left_out_notice", "warning_of"]


@dataclass(frozen=True)
class Segment:
    """A part of a recording and its text; seconds from the recording's start. Two may overlap, their texts don't.

    Args:
        confidence: How sure the model is of its text, 0 to 1; None where that is not known.
        doubtful: Whether that is less than the settings ask for.
    """

    start: Seconds
    end: Seconds
    text: str
    confidence: float | None = None
    doubtful: bool = False


@dataclass(frozen=True)
class Transcript:
    """The text of a recording, and which list words took part.

    Args:
        text: The transcript.
        predicted: List words stage 1 selected, in the list's spelling and order: what stage 2 was given. Of PC the
            whole list, of JPI the answer's selection.
        found: List words that occur in the text as whole words, in any case and spelling.
        scores: How sure stage 1 was of each predicted word: the log-probability that it was spoken or named, 0 =
            certain; empty without a stage 1.
        timings: Seconds of `encode`, `prune`, `transcribe`, of the whole batch, and `audio`, the recording's length.
        segments: The parts that were transcribed, in order; their texts together are the transcript. Where there is
            no speech there are none.
        left_out: Start and end of the segments that hold no speech, of which nothing is transcribed.
    """

    text: str
    predicted: list[str]
    found: list[str]
    timings: dict[str, float] = field(compare=False, default_factory=dict)
    scores: dict[str, float] = field(compare=False, default_factory=dict)
    segments: list[Segment] = field(compare=False, default_factory=list)
    left_out: list[tuple[Seconds, Seconds]] = field(compare=False, default_factory=list)


def warning_of(transcript: Transcript) -> str | None:
    """What a person should know of a transcript before using it: that there is no speech, or that most is doubtful."""
    if not transcript.segments:
        return "no speech was found, so the text is empty"
    written = [segment for segment in transcript.segments if segment.text]
    doubtful = sum(segment.doubtful for segment in written)
    if 2 * doubtful <= len(written) or not written:
        return None
    return (
        f"{doubtful} of {len(written)} segments are doubtful: the model hardly knows this kind of speech; "
        "give another with --model, or train on such recordings"
    )


def left_out_notice(transcript: Transcript) -> str | None:
    """How many segments hold no speech and were left out; None = none, or all, which `warning_of` says.

    >>> left_out_notice(Transcript("a", [], [], segments=[Segment(0.0, 2.0, "a")], left_out=[(2.0, 5.5)]))
    '1 of 2 segments (3.5 s) was left out: it holds no speech'
    """
    count = len(transcript.left_out)
    if not count or not transcript.segments:
        return None
    seconds = sum(end - start for start, end in transcript.left_out)
    left = f"{count} of {count + len(transcript.segments)} segments ({seconds:.1f} s)"
    return f"{left} was left out: it holds no speech" if count == 1 else f"{left} were left out: they hold no speech"


def keywords_in(text: str, keywords: Sequence[str]) -> list[str]:
    """The keywords that occur in the text as whole words, in any case and spelling, in list order, each once.

    >>> keywords_in("ask Jon about new york's trains and GPT-4", ["John", "jon", "New York", "york", "gpt 4"])
    ['jon', 'New York', 'york', 'gpt 4']
    """
    by_words: dict[tuple[str, ...], list[str]] = {}
    for keyword in filter(str.strip, dict.fromkeys(keywords)):
        for words, _ in forms(keyword):
            by_words.setdefault(words, []).append(keyword)
    found = {keyword for *_, standing in occurrences(text, by_words) for keyword in standing}
    return [keyword for keyword in dict.fromkeys(keywords) if keyword in found]
