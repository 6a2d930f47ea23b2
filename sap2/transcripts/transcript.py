"""The transcript of a recording by segments, and what became of its keyword list."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sap2.constants import Seconds
from sap2.spelling import Words, forms, occurrences

__all__ = ["KeywordFinder", "Segment", "Transcript", "keywords_in", "left_out_notice", "warning_of"]


@dataclass(frozen=True)
class Segment:
    """A part of a recording and its text; times in seconds. Segments may overlap, their texts do not.

    Args:
        confidence: The model's confidence in the text, 0 to 1; None = unknown.
        doubtful: Whether the confidence is below the settings' limit.
    """

    start: Seconds
    end: Seconds
    text: str
    confidence: float | None = None
    doubtful: bool = False


@dataclass(frozen=True)
class Transcript:
    """The text of a recording, and its keywords.

    Args:
        text: The transcript.
        predicted: Keywords that stage 1 selected and stage 2 was given, in the list's spelling and order. With PC the
            whole list, with JPI the answer's selection.
        found: Keywords that occur in the text as whole words, in any case and spelling.
        scores: Stage 1's score of each selected keyword: the log-probability that it was spoken or named, 0 =
            certain; empty without stage 1.
        timings: Seconds of `encode`, `prune` and `transcribe` for the whole batch, and `audio`, the recording's length.
        segments: The transcribed parts, in order; their texts together are the transcript. Empty without speech.
        left_out: Start and end of the segments without speech, which were not transcribed.
    """

    text: str
    predicted: list[str]
    found: list[str]
    timings: dict[str, float] = field(compare=False, default_factory=dict)
    scores: dict[str, float] = field(compare=False, default_factory=dict)
    segments: list[Segment] = field(compare=False, default_factory=list)
    left_out: list[tuple[Seconds, Seconds]] = field(compare=False, default_factory=list)


def warning_of(transcript: Transcript) -> str | None:
    """Return a warning if the recording has no speech or most segments are doubtful, else None."""
    if not transcript.segments:
        return "no speech was detected, so the text is empty"
    written = [segment for segment in transcript.segments if segment.text]
    doubtful = sum(segment.doubtful for segment in written)
    if 2 * doubtful <= len(written) or not written:
        return None
    return (
        f"{doubtful} of {len(written)} segments are doubtful: the model was trained on other speech; "
        "choose another with --model, or train on such recordings"
    )


def left_out_notice(transcript: Transcript) -> str | None:
    """State how many segments were left out for lack of speech; None = no segment, or all: see `warning_of`.

    >>> left_out_notice(Transcript("a", [], [], segments=[Segment(0.0, 2.0, "a")], left_out=[(2.0, 5.5)]))
    '1 of 2 segments (3.5 s) was left out: it holds no speech'
    """
    count = len(transcript.left_out)
    if not count or not transcript.segments:
        return None
    seconds = sum(end - start for start, end in transcript.left_out)
    left = f"{count} of {count + len(transcript.segments)} segments ({seconds:.1f} s)"
    return f"{left} was left out: it holds no speech" if count == 1 else f"{left} were left out: they hold no speech"


class KeywordFinder:
    """Finds the keywords of a list that occur in texts as whole words, in any case and spelling.

    >>> KeywordFinder(["John", "jon", "New York", "york", "gpt 4"]).within("ask Jon about new york's trains and GPT-4")
    ['jon', 'New York', 'york', 'gpt 4']

    Args:
        forms_of: The words by which each keyword may stand in a text, `{keyword: (words, …)}`, if they are known.
    """

    def __init__(self, keywords: Iterable[str], forms_of: Mapping[str, Sequence[Words]] | None = None):
        self.forms_of = forms_of or {
            keyword: [words for words, _ in forms(keyword)] for keyword in dict.fromkeys(keywords) if keyword.strip()
        }
        self._by_words: dict[Words, list[tuple[int, str]]] = {}
        for place, (keyword, several) in enumerate(self.forms_of.items()):
            for words in several:
                self._by_words.setdefault(words, []).append((place, keyword))
        self._longest = max(map(len, self._by_words), default=0)

    def within(self, text: str) -> list[str]:
        """The keywords in a text, in list order, each once."""
        found = {one for *_, standing in occurrences(text, self._by_words, self._longest) for one in standing}
        return [keyword for _, keyword in sorted(found)]


def keywords_in(text: str, keywords: Sequence[str]) -> list[str]:
    """The keywords that occur in a text: see `KeywordFinder`."""
    return KeywordFinder(keywords).within(text)
