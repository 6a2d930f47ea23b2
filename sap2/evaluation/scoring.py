"""Score systems on the same utterances; everything is counted in this module.

Texts and lists go in by id, `Scores` come out. `reading` reads files; `output`, `report` and `evaluate` write results
and count nothing.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sap2.deep_bias import ListCell
from sap2.errors import ParamsError
from sap2.evaluation.alignment import DELETION, INSERTION, SUBSTITUTION, Moves, definition_of, moves_of
from sap2.evaluation.figures import COUNTS, FIGURES, HALVES, KIND_FIGURES, KINDS, SELECTION_FIGURES
from sap2.evaluation.groups import Parts, parts_of_utterances, rows_of
from sap2.evaluation.keywords import Keyword, KeywordCounts, KeywordList, Vocabulary, caseless, surplus
from sap2.evaluation.marks import KeywordTally, MarkedLines
from sap2.evaluation.normalise import NORMALISERS, WORDS_RULE, normaliser_of, words
from sap2.evaluation.rates import Errors, check_same_ids, count_edits
from sap2.evaluation.scores import ErrorType, Scores, Selection, Settings, System, Unit, Utterance
from sap2.evaluation.significance import Sums, bounds, measure, resample

__all__ = ["Details", "Given", "Options", "by_unit", "score", "score_systems", "units_of"]

UNITS = ("auto", "utterance", "speaker", "talk")
KNOWN = ("seen", "unseen")
# Counts of a reference, and errors of a hypothesis; the second tuple of each is counted separately for keywords seen
# and unseen in the training text, if it is given.
_SPOKEN = ("all_words", "biased_words", "keyword_said", "phrase_said", "word_said")
_SPOKEN_KNOWN = ("biased_words", "keyword_said")
_WRONG = (
    *(f"{half}_{kind}" for half in ("all", "biased") for kind in KINDS),
    *(f"{what}_{count}" for what in ("keyword", "phrase", "word") for count in ("fp", "fn")),
)
_WRONG_KNOWN = ("biased_errors", "keyword_fp", "keyword_fn")
LISTS_AT_ONCE = 50  # some hundred entries each, so that a lookup stays in the processor's cache
FEWEST_UNITS = 10  # with fewer speakers or talks, utterances are drawn instead


class Options(NamedTuple):
    """Options of a scoring.

    Attributes:
        definition: "deep-bias" or "slidespeech".
        normaliser: "none", "basic" or "whisper-en", for text and lists alike.
        samples: Bootstrap draws for the intervals; 0 = no intervals.
        seed: Seed of the draws.
        unit: What is drawn: "utterance", "talk", "speaker", or "auto": talks if known, else speakers, if there are at
            least
            ten, else utterances.
        missing_as_deletions: True: an utterance without hypothesis counts as an empty transcript.
    """

    definition: str = "deep-bias"
    normaliser: str = "none"
    samples: int = 1000
    seed: int = 1
    unit: str = "auto"
    missing_as_deletions: bool = False


class Details(NamedTuple):
    """Metadata of an utterance: duration in seconds, talk and speaker; None = unknown."""

    duration: float | None = None
    talk: str | None = None
    speaker: str | None = None


NO_DETAILS = Details()
EMPTY: Mapping[str, Any] = MappingProxyType({})


class Given(NamedTuple):
    """A test set, by utterance id.

    Attributes:
        references: The reference texts.
        lists: The keyword lists; utterances may share a list. Empty: no lists.
        biasing: The words that count in B-WER, if given (the third column of is21_deep_bias) rather than derived from
            the
            list's entries in the reference. Empty: not given.
        predicted: Stage 1's selections. Empty: it did not run.
        details: Duration, talk and speaker.
        training: The words of the training texts, caseless; None = unknown.
    """

    references: Mapping[str, str]
    lists: Mapping[str, Sequence[str]] = EMPTY
    biasing: Mapping[str, Sequence[str]] = EMPTY
    predicted: Mapping[str, Sequence[str]] = EMPTY
    details: Mapping[str, Details] = EMPTY
    training: Collection[str] | None = None
    reference_source: str = ""
    lists_source: str = ""


def score(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    lists: Mapping[str, Sequence[str]] | None = None,
    *,
    biasing: Mapping[str, Sequence[str]] | None = None,
    predicted: Mapping[str, Sequence[str]] | None = None,
    definition: str = "deep-bias",
    normaliser: str = "none",
    samples: int = 1000,
    seed: int = 1,
    unit: str = "auto",
    missing_as_deletions: bool = False,
) -> Scores:
    """Score one system: WER, U-WER, B-WER and keyword figures, each with a 95 % bootstrap interval.

    Args:
        references, hypotheses: Text by utterance id.
        lists: Each utterance's keyword list by id; None = no lists.
        biasing: The words that count in B-WER by id; None = those of the list's entries that occur in the reference
            ("slidespeech": all words of the list that occur there, even if their phrase is incomplete).
        predicted: Stage 1's selections by id, to be compared with the spoken entries.
        definition, normaliser, samples, seed, unit, missing_as_deletions: See `Options`.
    Returns: `Scores` with one system, called "system".
    Raises:
        InputError: the mappings differ in their ids; the message names missing and unexpected ids.
        ParamsError: an unknown definition, normaliser or unit.

    WER = (substitutions + insertions + deletions) / reference words, in percent. B-WER takes the reference words in
    the utterance's biasing set and the insertions of words in that set ("slidespeech": only if they were spoken too);
    U-WER takes the others. Keyword recall = tp / (tp + fn) and precision = tp / (tp + fp) by occurrences of whole
    entries: surplus occurrences are false alarms.
    Source: Le et al., Interspeech 2021 (is21_deep_bias); Wang et al., ICASSP 2024 (SlideSpeech).

    >>> scores = score({"u1": "ask meyer"}, {"u1": "ask maier"}, {"u1": ["Meyer", "Zorvan"]}, samples=0)
    >>> scores.systems[0].figures["b_wer"].value, scores.systems[0].lines[0].missed
    (100.0, ('Meyer',))
    """
    given = Given(references, lists or {}, biasing or {}, predicted or {})
    options = Options(definition, normaliser, samples, seed, unit, missing_as_deletions)
    return score_systems(given, {"system": ("", "", hypotheses)}, options)


def score_systems(
    given: Given, systems: Mapping[str, tuple[str, str, Mapping[str, str | None]]], options: Options
) -> Scores:
    """Score systems on a common test set.

    Args:
        systems: By name: caption, source file, and hypotheses by id.
    Raises: as `score`.
    """
    missing = {
        name: _missing(given.references, hypotheses, source or "hypotheses", options)
        for name, (_, source, hypotheses) in systems.items()
    }
    prepared = _Prepared(given, options, {name: hypotheses for name, (_, _, hypotheses) in systems.items()})
    utterances = tuple(prepared.utterances)
    unit, codes, units = units_of(utterances, options.unit)
    parts = parts_of_utterances(utterances, prepared.list_sizes)
    base: Sums | None = None
    scored = []
    for name, (caption, source, _) in systems.items():
        system, sums = _score_system(name, caption, source, missing[name], prepared, parts, codes, options, base)
        if name == "none":
            base = sums
        scored.append(system)
    settings = Settings(
        definition=options.definition,
        definition_source=prepared.definition.source,
        normaliser=options.normaliser,
        normaliser_rule=NORMALISERS[options.normaliser],
        words=WORDS_RULE,
        unit=unit,
        units=units,
        samples=options.samples,
        seed=options.seed,
        missing_as_deletions=options.missing_as_deletions,
    )
    selection = _score_selection(prepared, parts, codes, options) if given.predicted else None
    return Scores(settings, utterances, tuple(scored), selection, given.reference_source, given.lists_source)


class Text(NamedTuple):
    """A text prepared for scoring.

    Attributes:
        text: Normalised, words separated by single spaces.
        tokens: Its words as they are aligned.
        words: The same words without case, for keyword lookup.
    """

    text: str
    tokens: list[str]
    words: list[str]


NO_TEXT = Text("", [], [])


class _Prepared:
    """The test set prepared for lookup and counting, shared by all systems.

    Attributes:
        utterances: The references with their metadata.
        references: The reference texts.
        wrong: For each system its hypotheses that differ from the reference, by the utterance's index; None = missing.
        said: The keyword occurrences in each reference.
        known: "seen" and "unseen", if the words of the training text are given.
        counts: The counts of each reference, in the order of `_SPOKEN` and, for each of `known`, of `_SPOKEN_KNOWN`.
    """

    def __init__(self, given: Given, options: Options, systems: Mapping[str, Mapping[str, str | None]]) -> None:
        self.definition = definition_of(options.definition)
        self.training = given.training
        self.known = () if given.training is None else KNOWN
        self._normaliser = options.normaliser
        self._clean = normaliser_of(options.normaliser)
        for ids, what in ((given.lists, "lists"), (given.biasing, "biasing words"), (given.predicted, "answers")):
            if ids:
                check_same_ids(given.references, ids, what)
        self.references = list(map(self._text, given.references.values()))
        self.wrong = {name: self._wrong(given.references, hypotheses) for name, hypotheses in systems.items()}
        self._lists = [given.lists.get(id, ()) for id in given.references]
        self._entries = self._known_entries()
        self._last: tuple[Sequence[str] | None, KeywordList] = (None, KeywordList())
        self.list_sizes = list(map(len, self._lists))
        self.utterances: list[Utterance] = []
        self.said: list[list[Keyword]] = []
        self.counts: list[list[int]] = []
        for index, (id, text) in enumerate(zip(given.references, self.references, strict=True)):
            self._add(index, id, text, given)

    def _text(self, text: str) -> Text:
        pieces = words(self._clean(text))
        text = " ".join(pieces)
        tokens = text.upper().split() if self.definition.upper_case else pieces
        return Text(text, tokens, pieces if text.isascii() and text.islower() else caseless(text))

    def _wrong(self, references: Mapping[str, str], hypotheses: Mapping[str, str | None]) -> dict[int, Text | None]:
        wrong: dict[int, Text | None] = {}
        for index, (id, reference) in enumerate(references.items()):
            hypothesis = hypotheses.get(id)
            if hypothesis is None:
                wrong[index] = None
            elif hypothesis != reference and (text := self._text(hypothesis)).text != self.references[index].text:
                wrong[index] = text
        return wrong

    def list_at(self, index: int) -> KeywordList:
        """Return an utterance's list, possibly reduced to the entries that occur in the texts."""
        entries = self._entries.get(index)
        if entries is not None:
            return KeywordList.of_words(entries)
        # A list shared by consecutive utterances is built once.
        if self._last[0] is not self._lists[index]:
            self._last = (self._lists[index], KeywordList(self._lists[index], self._normaliser))
        return self._last[1]

    def _known_entries(self) -> dict[int, dict[Keyword, str]]:
        """Return by utterance the list entries that occur in any text, for lists that allow a fast lookup."""
        known: dict[int, dict[Keyword, str]] = {}
        cells = [(index, listed) for index, listed in enumerate(self._lists) if isinstance(listed, ListCell)]
        if self._normaliser != "none" or not cells:
            return known
        texts = chain(self.references, *(wrong.values() for wrong in self.wrong.values()))
        vocabulary = Vocabulary(set().union(*[text.words for text in texts if text is not None]))
        for start in range(0, len(cells), LISTS_AT_ONCE):
            part = cells[start : start + LISTS_AT_ONCE]
            entries = vocabulary.entries_of([listed for _, listed in part])
            if entries is not None:
                known.update(zip([index for index, _ in part], entries, strict=True))
        return known

    def _add(self, index: int, id: str, text: Text, given: Given) -> None:
        details = given.details.get(id, NO_DETAILS)
        listed = self.list_at(index)
        said = listed.occurrences(text.words)
        if given.biasing:
            named = given.biasing[id]
            biasing = set(caseless(" ".join(map(self._clean, named)))) if named else set()
        elif self.definition.name == "slidespeech":
            # SlideSpeech counts single words: any list word in the reference, even if its phrase is incomplete.
            biasing = set(text.words).intersection(listed.list_words)
        else:
            biasing = {word for keyword in said for word in keyword.split()}
        predicted = given.predicted.get(id) if given.predicted else None
        utterance = Utterance(
            id,
            text.text,
            self._lists[index],
            listed.spelt(said),
            tuple(sorted(biasing)),
            None if predicted is None else tuple(predicted),
            details.duration,
            *_talk_and_speaker(id, details),
        )
        self.utterances.append(utterance)
        self.said.append(said)
        self.counts.append(self._count(text.words, said, biasing, listed))

    def _count(self, words: list[str], said: list[Keyword], biasing: set[str], listed: KeywordList) -> list[int]:
        # If all entries are single words, list words and entries are the same.
        phrases, single = 0, len(said)
        if listed.has_phrases:
            phrases = sum(" " in keyword for keyword in said)
            single = _within(words, listed.list_words)
        counts = [len(words), _within(words, biasing), len(said), phrases, single]
        for known in self.known:
            counts += [_within(words, set(self.of_training(biasing, known))), len(self.of_training(said, known))]
        return counts

    def of_training(self, keywords: Iterable[Keyword], known: str) -> list[Keyword]:
        """Return the keywords that are "seen" in the training text, or those that are "unseen"."""
        seen, training = known == "seen", self.training or ()
        return [keyword for keyword in keywords if all(map(training.__contains__, keyword.split())) == seen]


def _score_system(
    name: str,
    caption: str,
    source: str,
    missing: tuple[str, ...],
    prepared: _Prepared,
    parts: Parts,
    codes: np.ndarray | None,
    options: Options,
    base: Sums | None,
) -> tuple[System, Sums]:
    utterances, wrong = prepared.utterances, prepared.wrong[name]
    tally = KeywordTally(prepared.said)
    columns, moves = _columns(prepared, wrong, tally)
    texts = {index: None if text is None else text.text for index, text in wrong.items()}
    lines = MarkedLines(utterances, texts, moves, prepared.definition, prepared.list_at)
    sums = resample(by_unit({**columns, **parts.columns(columns)}, codes), options.samples, options.seed)
    figures = {figure: measure(how, sums) for figure, how in FIGURES.items()}
    if base is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            figures["b_wer_vs_none"] = bounds(FIGURES["b_wer"].of(sums) / FIGURES["b_wer"].of(base))
    errors = {half: _errors(columns, half) for half in HALVES}
    kinds = tuple(
        ErrorType(
            kind, rate=measure(KIND_FIGURES[kind], sums), **{half: getattr(errors[half], kind) for half in HALVES}
        )
        for kind in KINDS
    )
    system = System(
        name=name,
        caption=caption,
        source=source,
        figures=figures,
        **errors,
        keywords=_total(columns, "keyword"),
        phrases=_total(columns, "phrase"),
        list_words=_total(columns, "word"),
        error_types=kinds,
        breakdown=rows_of(parts, sums, columns, prepared.training is not None),
        confused=tuple(tally.worst(utterances, lines)),
        missing=missing,
        lines=lines,
        columns=columns,
    )
    return system, sums


def _missing(
    references: Mapping[str, str], hypotheses: Mapping[str, str | None], what: str, options: Options
) -> tuple[str, ...]:
    missing = tuple(id for id in references if id not in hypotheses)
    if missing and options.missing_as_deletions:
        extra = [id for id in hypotheses if id not in references]
        check_same_ids(references, [*references, *extra], what)
        return missing
    if len(missing) or len(hypotheses) != len(references):
        check_same_ids(references, hypotheses, what)
    return ()


def _columns(
    prepared: _Prepared, wrong: Mapping[int, Text | None], tally: KeywordTally
) -> tuple[dict[str, np.ndarray], dict[int, Moves]]:
    """Count everything per utterance; return the columns and the alignments of wrong hypotheses."""
    spoken = [*_SPOKEN, *(f"{known}_{name}" for known in prepared.known for name in _SPOKEN_KNOWN)]
    counts = np.array(prepared.counts, dtype=np.int64).reshape(-1, len(spoken))
    columns = dict(zip(spoken, counts.T, strict=True))
    pairs = [(prepared.references[index], text or NO_TEXT) for index, text in wrong.items()]
    aligned = moves_of([(said.tokens, written.tokens) for said, written in pairs], prepared.definition)
    moves = dict(zip(wrong, aligned, strict=True))
    wrongs = [
        _count_wrong(made, index, reference.words, hypothesis.words, prepared, tally)
        for (index, made), (reference, hypothesis) in zip(moves.items(), pairs, strict=True)
    ]
    made = [*_WRONG, *(f"{known}_{name}" for known in prepared.known for name in _WRONG_KNOWN)]
    table = np.zeros((len(made), len(counts)), dtype=np.int64)
    if wrongs:
        table[:, list(moves)] = np.array(wrongs).T
    columns |= zip(made, table, strict=True)
    for name in ("keyword", "phrase", "word", *(f"{known}_keyword" for known in prepared.known)):
        columns[f"{name}_tp"] = columns.pop(f"{name}_said") - columns[f"{name}_fn"]
    for kind in ("words", *KINDS):
        columns[f"unbiased_{kind}"] = columns[f"all_{kind}"] - columns[f"biased_{kind}"]
    for half in HALVES:
        columns[f"{half}_errors"] = np.sum([columns[f"{half}_{kind}"] for kind in KINDS], axis=0)
    columns["utterances"] = np.ones(len(counts), dtype=np.int64)
    for known in prepared.known:
        any_keyword = np.sum([columns[f"{known}_keyword_{count}"] for count in COUNTS], axis=0) > 0
        columns[f"{known}_utterances"] = any_keyword.astype(np.int64)
    return columns, moves


def _count_wrong(
    moves: Moves,
    index: int,
    reference: list[str],
    hypothesis: list[str],
    prepared: _Prepared,
    tally: KeywordTally,
) -> list[int]:
    """Count an utterance's errors, in the order of `_WRONG` and, for each of `prepared.known`, of `_WRONG_KNOWN`.

    Args:
        reference, hypothesis: Caseless words.
    """
    definition, biasing = prepared.definition, prepared.utterances[index].biasing
    said, listed = prepared.said[index], prepared.list_at(index)
    written = listed.occurrences(hypothesis)
    wrong = surplus(said, written) if said != written else {}
    if wrong:
        tally.add(index, listed, wrong)
    keyword = _false_and_missed(wrong)
    # If all entries are single words, list words and entries are the same.
    phrase, word = (0, 0), keyword
    if listed.has_phrases:
        phrase = _false_and_missed({keyword: times for keyword, times in wrong.items() if " " in keyword})
        single = ([word for word in text if word in listed.list_words] for text in (reference, hypothesis))
        word = _false_and_missed(surplus(*single))
    edits = (moves.count(SUBSTITUTION), moves.count(INSERTION), moves.count(DELETION)) if moves else (0, 0, 0)
    counts = [*edits, *count_edits(moves, reference, hypothesis, biasing, definition), *keyword, *phrase, *word]
    for known in prepared.known:
        inside = prepared.of_training(biasing, known)
        counts.append(sum(count_edits(moves, reference, hypothesis, inside, definition)))
        counts += _false_and_missed({keyword: wrong[keyword] for keyword in prepared.of_training(wrong, known)})
    return counts


def _false_and_missed(difference: Mapping[str, int]) -> tuple[int, int]:
    """Sum up `surplus`: occurrences written but not spoken (fp), and spoken but not written (fn).

    Source: SlideSpeech's scorer, whose recall also counts occurrences; unlike this module it has no figure that uses
    `fp`.
    """
    missed = sum([times for times in difference.values() if times > 0])
    return missed - sum(difference.values()), missed


def _within(words: list[str], some: Collection[str]) -> int:
    return len(list(filter(some.__contains__, words))) if some else 0


def _errors(columns: Mapping[str, np.ndarray], half: str) -> Errors:
    return Errors(*(int(columns[f"{half}_{kind}"].sum()) for kind in ("words", *KINDS)))


def _total(columns: Mapping[str, np.ndarray], name: str) -> KeywordCounts:
    return KeywordCounts(*(int(columns[f"{name}_{count}"].sum()) for count in COUNTS))


def _score_selection(prepared: _Prepared, parts: Parts, codes: np.ndarray | None, options: Options) -> Selection:
    """Compare stage 1's selections with the spoken entries."""
    counts, picked = [], 0
    for utterance, said in zip(prepared.utterances, prepared.said, strict=True):
        answer = KeywordList(utterance.predicted or (), options.normaliser).spelling.keys()
        picked += len(answer)
        right = len(answer & set(said))
        counts.append((right, len(answer) - right, len(set(said)) - right))
    table = np.array(counts, dtype=np.int64).reshape(-1, len(COUNTS))
    columns = {f"keyword_{count}": column for count, column in zip(COUNTS, table.T, strict=True)}
    columns["utterances"] = np.ones(len(counts), dtype=np.int64)
    sums = resample(by_unit({**columns, **parts.columns(columns, "list size")}, codes), options.samples, options.seed)
    rows = rows_of(parts, sums, columns, False, SELECTION_FIGURES, "list size")
    return Selection(
        counts=_total(columns, "keyword"),
        figures={name: measure(figure, sums) for name, figure in SELECTION_FIGURES.items()},
        listed_per_utterance=float(np.mean(prepared.list_sizes)),
        selected_per_utterance=picked / max(1, len(counts)),
        by_utterance=tuple(KeywordCounts(*count) for count in counts),
        breakdown=rows if len(rows) > 1 else (),
    )


# ---- what is drawn ---------------------------------------------------------------------------------------------------

_LIBRISPEECH = re.compile(r"(\d+)-\d+-\d+")
_NUMBERED = r"(.*\w)[-_.]\d+"


def _talk_and_speaker(id: str, details: Details) -> tuple[str | None, str | None]:
    """Return talk and speaker as given, else from the id: `SPEAKER-CHAPTER-NUMBER` (LibriSpeech) or `TALK-NUMBER`."""
    if details.talk is not None or details.speaker is not None:
        return details.talk, details.speaker
    if match := _LIBRISPEECH.fullmatch(id):
        return None, match.group(1)
    match = re.fullmatch(_NUMBERED, id)
    return (match.group(1) if match else None), None


def units_of(utterances: Sequence[Utterance], wanted: str) -> tuple[Unit, np.ndarray | None, int]:
    """Choose the bootstrap's unit; return it, each utterance's unit index (None: itself), and the number of units."""
    if wanted not in UNITS:
        raise ParamsError(f"unit: got {wanted!r}, expected one of: {', '.join(UNITS)}")
    for unit in ("talk", "speaker") if wanted == "auto" else (wanted,):
        if unit == "utterance":
            break
        names = [getattr(utterance, unit) for utterance in utterances]
        if None in names:
            if wanted != "auto":
                raise ParamsError(
                    f"unit: the {unit} of {utterances[names.index(None)].id} is unknown; "
                    f"draw utterances, or use a manifest with a {unit} for every utterance"
                )
            continue
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        if wanted != "auto" or len(numbers) >= FEWEST_UNITS:
            return unit, np.array([numbers[name] for name in names]), len(numbers)
    return "utterance", None, len(utterances)


def by_unit(columns: Mapping[str, np.ndarray], codes: np.ndarray | None) -> Mapping[str, np.ndarray]:
    """Sum counts per utterance over each unit."""
    if codes is None:
        return columns
    return {name: np.bincount(codes, weights=column) for name, column in columns.items()}
