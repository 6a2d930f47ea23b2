"""Typed results of scoring. Terminal output, JSON, HTML and MLflow only read them.

`Scores` holds the utterances, and for each system its figures, counts, breakdown and aligned lines.
Named tuples, as defining a dozen dataclasses would take longer than aligning a test set.
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
        value: The figure over all utterances; None if its divisor is 0.
        low, high: Bounds of the interval; None without draws or for figures without interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


class Settings(NamedTuple):
    """How the scores were made; every output states this in full.

    Attributes:
        definition: "deep-bias" or "slidespeech".
        definition_source: Source of the definition.
        normaliser: "none", "basic" or "whisper-en"; applied to text and lists alike.
        normaliser_rule: Description of the normaliser.
        words: Description of what counts as a word.
        unit: The bootstrap's unit: an utterance, or all utterances of a speaker or talk.
        units: Number of units.
        samples: Draws; 0 = no intervals.
        seed: Seed of the draws.
        missing_as_deletions: True: an utterance without hypothesis counts as an empty transcript.
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
    """An utterance as it is scored, independent of systems.

    Attributes:
        id: Its id, the same in reference, lists and hypotheses.
        reference: Its words after normalisation, separated by single spaces.
        keywords: Its list, in the list's spelling and order, with duplicates.
        said: The list's entries that occur in the reference, in the list's spelling and order, without duplicates.
        biasing: The words that count in B-WER.
        predicted: The keywords stage 1 selected, in its spelling; None = stage 1 did not run.
        duration: Length in seconds; None = unknown.
        talk, speaker: From the input, else derived from the id; None = unknown.
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
    """A column of an aligned line: an edit, and its effect on the keywords.

    Attributes:
        kind: "equal", "substitution", "insertion" or "deletion".
        reference: The reference word; None in an insertion.
        hypothesis: The hypothesis word; None in a deletion.
        biased: True: it counts in B-WER (as an error or a right word), else in U-WER.
        said: "found" or "missed" if the reference word belongs to a spoken list entry, else "".
        written: "false" if the hypothesis word belongs to a list entry that was not spoken (as often), else "".
    """

    kind: Kind
    reference: str | None
    hypothesis: str | None
    biased: bool = False
    said: Literal["", "found", "missed"] = ""
    written: Literal["", "false"] = ""


class Line(NamedTuple):
    """A system's aligned transcript of an utterance.

    Attributes:
        hypothesis: Its words after normalisation, separated by single spaces.
        pairs: The alignment, from the first word to the last.
        errors: Edits that are not "equal".
        biased_errors: Errors that count in B-WER.
        missed: List entries spoken more often than written, in the list's spelling.
        false_alarms: List entries written more often than spoken, in the list's spelling.
        absent: True: the system has no hypothesis, and all reference words count as deleted.
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
        group: What the parts are grouped by: "list size", "keyword in training", "duration", "talk".
        label: The part's name: "51 to 100", "unseen", "2 to 5 s", "talk3".
        utterances: Utterances in this part (for "keyword in training": with such a keyword spoken or written).
        figures: Measures by the names in `System.figures`; without those that do not apply to the part. Rows by
            talk or speaker have no intervals: they are the bootstrap's units, or too many.
        keywords: Counts behind the keyword figures.
    """

    group: str
    label: str
    utterances: int
    figures: Mapping[str, Measure]
    keywords: KeywordCounts = KeywordCounts()


class ErrorType(NamedTuple):
    """Numbers of errors of a kind, over all words and over the two halves.

    Attributes:
        kind: "substitutions", "insertions" or "deletions".
        all, unbiased, biased: Counts in WER, U-WER and B-WER.
        rate: Errors of this kind per 100 reference words, with its interval.
    """

    kind: str
    all: int
    unbiased: int
    biased: int
    rate: Measure


class KeywordErrors(NamedTuple):
    """The errors of a list entry.

    Attributes:
        keyword: In the list's spelling.
        said: How often it was spoken where listed.
        found: How often it was spoken and written.
        missed: How often it was spoken but not written.
        false_alarms: How often it was written but not spoken.
        instead: Texts written instead, with counts, most frequent first; "" = nothing.
        ids: Utterances in which it was missed or falsely written, in the order of the test set.
    """

    keyword: str
    said: int
    found: int
    missed: int
    false_alarms: int
    instead: tuple[tuple[str, int], ...]
    ids: tuple[str, ...]


class Selection(NamedTuple):
    """Stage 1's selections, compared with the spoken list entries.

    Attributes:
        counts: Entries rightly kept (tp), wrongly kept (fp), wrongly dropped (fn), over all utterances.
        figures: "precision", "recall" and "f1" from 0 to 1, "false_alarms_per_100" per 100 utterances.
        listed_per_utterance, selected_per_utterance: Mean sizes of the lists and of the selections.
        by_utterance: The counts of each utterance, in the order of `Scores.utterances`.
        breakdown: The same figures by list size; empty if all lists have the same size.
    """

    counts: KeywordCounts
    figures: Mapping[str, Measure]
    listed_per_utterance: float
    selected_per_utterance: float
    by_utterance: tuple[KeywordCounts, ...]
    breakdown: tuple[Row, ...] = ()


class System(NamedTuple):
    """The scores of a system (or of a context) on all utterances.

    Attributes:
        name: Short name: of its file, or of a context such as "predicted".
        caption: Description of its keyword input; may be "".
        source: The file its hypotheses come from; may be "".
        figures: Measures by name. In percent of reference words: "wer", "u_wer", "b_wer"; over whole list entries, by
            occurrences, from 0 to 1: "keyword_precision", "keyword_recall", "keyword_f1"; per 100 utterances:
            "false_alarms_per_100"; over entries of several words: "phrase_precision", "phrase_recall", "phrase_f1";
                over the single words of the list's entries: "word_recall" (SlideSpeech's recall). Only among contexts
                that include "none": "b_wer_vs_none", the ratio of its B-WER to that without keywords.
        all, unbiased, biased: Words and errors behind WER, U-WER and B-WER.
        keywords: Counts behind the "keyword_" figures.
        phrases: Counts behind the "phrase_" figures: written as a whole (tp), not as a whole (fn), written but not
            spoken (fp).
        list_words: Counts behind "word_recall".
        error_types: Errors by kind.
        breakdown: Figures of parts, ordered by group.
        confused: List entries with errors, most errors first.
        missing: Ids without hypothesis, counted as deletions.
        lines: One `Line` per utterance, in the order of `Scores.utterances`; computed on access.
        columns: The counts behind the figures, per utterance: "all_words", "all_errors", "unbiased_errors",
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
    """The scores of one or more systems on the same utterances.

    Attributes:
        settings: How the scores were made.
        utterances: In the order of the references.
        systems: At least one; contexts in the order none, full, predicted, oracle.
        selection: Stage 1's figures; None if it did not run.
        reference_source, lists_source: Source files; "" = the hypothesis file itself, or no file.
        trained_lists: Which lists the recogniser was trained on, such as "oracle"; "" = unknown, or another system.
    """

    settings: Settings
    utterances: tuple[Utterance, ...]
    systems: tuple[System, ...]
    selection: Selection | None = None
    reference_source: str = ""
    lists_source: str = ""
    trained_lists: str = ""
