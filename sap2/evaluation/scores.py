"""What a scoring gives: typed values for everything that is counted. Printing, JSON, HTML and MLflow only read them.

One `Scores` holds the utterances, and for each system on them its figures, counts, breakdown and aligned lines.
Named tuples: a dozen dataclasses would take longer to define than a test set to align.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from sap2.constants import Seconds
from sap2.evaluation.alignment import Kind
from sap2.evaluation.keywords import KeywordCounts
from sap2.evaluation.rates import Errors

__all__ = [
    "ErrorType",
    "KeywordErrors",
    "Line",
    "Measure",
    "Row",
    "Scores",
    "Selection",
    "Settings",
    "System",
    "Utterance",
    "WordPair",
]

if TYPE_CHECKING:
    import numpy as np

Unit = Literal["utterance", "speaker", "talk"]


class Measure(NamedTuple):
    """A figure and its 95 % bootstrap interval.

    Attributes:
        value: The figure over all utterances; None when there is nothing to divide by.
        low, high: Bounds of the interval; None when nothing was drawn or the figure has no interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


class Settings(NamedTuple):
    """How the scores were made; every output states all of it.

    Attributes:
        definition: "deep-bias" or "slidespeech".
        definition_source: Where that definition comes from.
        normaliser: "none", "basic" or "whisper-en"; applied to text and lists alike.
        normaliser_rule: What that normaliser does, in words.
        words: What counts as a word, in words.
        unit: What the bootstrap draws: utterances, or all utterances of a speaker or talk together.
        units: How many of those there are.
        samples: Draws; 0 = no intervals.
        seed: Seed of the draws.
        missing_as_deletions: True: an utterance without hypothesis counts as if nothing had been written.
    """

    definition: str
    definition_source: str
    normaliser: str
    normaliser_rule: str
    words: str
    unit: Unit
    units: int
    samples: int
    seed: int
    missing_as_deletions: bool = False


class Utterance(NamedTuple):
    """One utterance as it is scored, whatever the system.

    Attributes:
        id: Its id, the same in reference, lists and hypotheses.
        reference: Its words after normalisation, separated by single spaces.
        keywords: Its list, in the list's own spelling and order, doubles included.
        said: The list's entries that occur in the reference, in the list's spelling and order, each once.
        biasing: The words that count in B-WER.
        predicted: Stage 1's answer, in its own spelling; None = stage 1 was not asked.
        duration: Length in seconds; None = unknown.
        talk, speaker: Given by the input, else read off the id; None = unknown.
    """

    id: str
    reference: str
    keywords: Sequence[str] = ()
    said: tuple[str, ...] = ()
    biasing: tuple[str, ...] = ()
    predicted: tuple[str, ...] | None = None
    duration: Seconds | None = None
    talk: str | None = None
    speaker: str | None = None


class WordPair(NamedTuple):
    """One column of an aligned line: an edit, and what it means for the keywords.

    Attributes:
        kind: "equal", "substitution", "insertion" or "deletion".
        reference: The word said; None in an insertion.
        hypothesis: The word written; None in a deletion.
        biased: True: it counts in B-WER (an error of it, or a right word of it), else in U-WER.
        said: "found" or "missed" when the word said belongs to a list entry that was said, else "".
        written: "false" when the word written belongs to a list entry that nobody said (or not so often), else "".
    """

    kind: Kind
    reference: str | None
    hypothesis: str | None
    biased: bool = False
    said: Literal["", "found", "missed"] = ""
    written: Literal["", "false"] = ""


class Line(NamedTuple):
    """One system's transcript of one utterance, aligned.

    Attributes:
        hypothesis: Its words after normalisation, separated by single spaces.
        pairs: The alignment, from the first word to the last.
        errors: Edits that are not "equal".
        biased_errors: Those of them that count in B-WER.
        missed: List entries said more often than written, in the list's spelling.
        false_alarms: List entries written more often than said, in the list's spelling.
        absent: True: the system gave no hypothesis, and the reference counts as deleted.
    """

    hypothesis: str
    pairs: tuple[WordPair, ...]
    errors: int
    biased_errors: int
    missed: tuple[str, ...] = ()
    false_alarms: tuple[str, ...] = ()
    absent: bool = False


class Row(NamedTuple):
    """The figures of a part of the utterances, or of a part of the keywords.

    Attributes:
        group: What the parts are made by: "list size", "keyword in training", "duration", "talk".
        label: This part: "51 to 100", "unseen", "2 to 5 s", "talk3".
        utterances: Utterances in this part (for "keyword in training": with such a keyword said or written).
        figures: Measures by the names in `System.figures`; those that make no sense for the part are left out. Rows by
            talk or speaker have no intervals: they are what is drawn, or too many.
        keywords: Counts behind the keyword figures.
    """

    group: str
    label: str
    utterances: int
    figures: Mapping[str, Measure]
    keywords: KeywordCounts = KeywordCounts()


class ErrorType(NamedTuple):
    """How many errors are of one kind, over all words and over its two halves.

    Attributes:
        kind: "substitutions", "insertions" or "deletions".
        all, unbiased, biased: Counts in WER, U-WER and B-WER.
        rate: Errors of this kind in 100 reference words, with its interval.
    """

    kind: str
    all: int
    unbiased: int
    biased: int
    rate: Measure


class KeywordErrors(NamedTuple):
    """One list entry that went wrong.

    Attributes:
        keyword: In the list's spelling.
        said: Times it was said, where it was listed.
        found: Times it was written where it was said.
        missed: Times it was said and not written.
        false_alarms: Times it was written and not said.
        instead: What stood in its place, with counts, most frequent first; "" = nothing.
        ids: Utterances in which it was missed or falsely written, in their order.
    """

    keyword: str
    said: int
    found: int
    missed: int
    false_alarms: int
    instead: tuple[tuple[str, int], ...]
    ids: tuple[str, ...]


class Selection(NamedTuple):
    """Stage 1's answers, held against the list entries that were said.

    Attributes:
        counts: Entries rightly kept (tp), wrongly kept (fp), wrongly dropped (fn), over all utterances.
        figures: "precision", "recall" and "f1" from 0 to 1, "false_alarms_per_100" in 100 utterances.
        listed_per_utterance, selected_per_utterance: Mean sizes of the lists given and of the answers.
        by_utterance: The counts of each utterance, in the order of `Scores.utterances`.
        breakdown: The same figures by list size; empty when all lists are of one size.
    """

    counts: KeywordCounts
    figures: Mapping[str, Measure]
    listed_per_utterance: float
    selected_per_utterance: float
    by_utterance: tuple[KeywordCounts, ...]
    breakdown: tuple[Row, ...] = ()


class System(NamedTuple):
    """One system (or one context of ours) on all utterances.

    Attributes:
        name: Short: a file's name, or a context such as "predicted".
        caption: What it was given, in words; may be "".
        source: The file its hypotheses come from; may be "".
        figures: Measures by name. In per cent of reference words: "wer", "u_wer", "b_wer"; over list entries, whole, by
            occurrences, from 0 to 1: "keyword_precision", "keyword_recall", "keyword_f1"; in 100 utterances:
            "false_alarms_per_100"; over entries of several words: "phrase_precision", "phrase_recall", "phrase_f1";
            over the single words of the list's entries: "word_recall" (SlideSpeech's recall). Only among contexts that
            include "none": "b_wer_vs_none", its B-WER over that without keywords.
        all, unbiased, biased: Words and errors behind WER, U-WER and B-WER.
        keywords: Counts behind the "keyword_" figures.
        phrases: Counts behind the "phrase_" figures: found whole (tp), not whole (fn), written and not said (fp).
        list_words: Counts behind "word_recall".
        error_types: Errors by kind.
        breakdown: Parts, group after group.
        confused: List entries with errors, those with most errors first.
        missing: Ids without hypothesis, counted as deletions.
        lines: One `Line` an utterance, in the order of `Scores.utterances`; made when asked for.
        columns: The counts behind the figures, by utterance: "all_words", "all_errors", "unbiased_errors",
            "biased_errors", "keyword_tp", …, each `(utterances,)`; see `figures`.
    """

    name: str
    caption: str
    source: str
    figures: Mapping[str, Measure]
    all: Errors
    unbiased: Errors
    biased: Errors
    keywords: KeywordCounts
    phrases: KeywordCounts
    list_words: KeywordCounts
    error_types: tuple[ErrorType, ...]
    breakdown: tuple[Row, ...]
    confused: tuple[KeywordErrors, ...]
    missing: tuple[str, ...]
    lines: Sequence[Line]
    columns: "Mapping[str, np.ndarray]" = MappingProxyType({})


class Scores(NamedTuple):
    """Everything counted about one or more systems on the same utterances.

    Attributes:
        settings: How it was made.
        utterances: In the order of the references.
        systems: At least one; for our contexts in the order none, full, predicted, oracle.
        selection: Stage 1's figures; None when it was not asked.
        reference_source, lists_source: The files they come from; "" = the hypothesis file itself, or no file.
        trained_lists: Which lists our recogniser was trained on, such as "oracle"; "" = unknown, or not ours.
    """

    settings: Settings
    utterances: tuple[Utterance, ...]
    systems: tuple[System, ...]
    selection: Selection | None = None
    reference_source: str = ""
    lists_source: str = ""
    trained_lists: str = ""
