"""The text of a recording, segment by segment, and what became of its keyword list."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sap2.constants import Seconds
from sap2.spelling import Words, forms, occurrences

__all__ = ["KeywordFinder", "Segment", "Transcript", "keywords_in", "warning_of"]


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
    """

    text: str
    predicted: list[str]
    found: list[str]
    timings: dict[str, float] = field(compare=False, default_factory=dict)
    scores: dict[str, float] = field(compare=False, default_factory=dict)
    segments: list[Segment] = field(compare=False, default_factory=list)


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
