"""Score one or more systems on the same utterances: the one place in which anything is counted.

Texts and lists go in by id, `Scores` come out. Files are read in `reading`, results are written in `output`, `report`
and `evaluate`; none of those counts anything.
"""

import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sap2.errors import ParamsError
from sap2.evaluation.alignment import Definition, Moves, definition_of, moves_of
from sap2.evaluation.figures import (
    FIGURES,
    HALVES,
    KIND_FIGURES,
    KINDS,
    SELECTION_FIGURES,
    count_columns,
    error_columns,
)
from sap2.evaluation.groups import Parts, parts_of_utterances, rows_of
from sap2.evaluation.keywords import Keyword, KeywordCounts, KeywordList, Places, caseless
from sap2.evaluation.marks import KeywordTally, MarkedLines
from sap2.evaluation.normalise import NORMALISERS, WORDS_RULE, normaliser_of, words
from sap2.evaluation.rates import Errors, check_same_ids, count_all, count_edits
from sap2.evaluation.scored import ErrorType, Scores, Selection, Settings, System, Unit, Utterance
from sap2.evaluation.significance import Sums, bounds, measure, resample

__all__ = ["Details", "Given", "Options", "by_unit", "score", "score_systems", "units_of"]

UNITS = ("auto", "utterance", "speaker", "talk")
NO_COUNTS = (0, 0, 0)
FEWEST_UNITS = 10  # below, drawing speakers or talks says little: utterances are drawn instead


@dataclass(frozen=True)
class Options:
    """How to score.

    Attributes:
        definition: "deep-bias" or "slidespeech".
        normaliser: "none", "basic" or "whisper-en", for text and lists alike.
        samples: Bootstrap draws for the intervals; 0 = no intervals.
        seed: Seed of the draws.
        unit: What is drawn: "utterance", "talk", "speaker", or "auto": talks where they are known, else speakers, where
            there are ten or more, else utterances.
        missing_as_deletions: True: an utterance without hypothesis counts as if nothing had been written.
    """

    definition: str = "deep-bias"
    normaliser: str = "none"
    samples: int = 1000
    seed: int = 1
    unit: str = "auto"
    missing_as_deletions: bool = False


@dataclass(frozen=True)
class Details:
    """What is known of an utterance besides its words: seconds, talk and speaker; None = unknown."""

    duration: float | None = None
    talk: str | None = None
    speaker: str | None = None


NO_DETAILS = Details()


@dataclass(frozen=True)
class Given:
    """A test set, by utterance id.

    Attributes:
        references: What was said.
        lists: The keyword lists; an utterance may share its list with others. Empty: no lists.
        biasing: The words that count in B-WER, where they are given and not found by looking for the list's entries in
            the reference (the third column of is21_deep_bias). Empty: not given.
        predicted: Stage 1's answers. Empty: it was not asked.
        details: Duration, talk and speaker.
        training: The words of the training texts, caseless; None = not known.
    """

    references: Mapping[str, str]
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    biasing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    predicted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    details: Mapping[str, Details] = field(default_factory=dict)
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
            ("slidespeech": all words of the list that occur there, their phrase complete or not).
        predicted: Stage 1's answers by id, to be held against the entries that were said.
        definition, normaliser, samples, seed, unit, missing_as_deletions: See `Options`.
    Returns: `Scores` with one system, called "system".
    Raises:
        InputError: the mappings do not hold the same ids; the message names those missing and those too many.
        ParamsError: an unknown definition, normaliser or unit.

    WER = (substitutions + insertions + deletions) / reference words, in per cent. B-WER takes the reference words in
    the utterance's biasing set and the insertions of words in that set ("slidespeech": only if they were said too);
    U-WER takes the others. Keyword recall = tp / (tp + fn) and precision = tp / (tp + fp) by occurrences of whole
    entries: written as often as said is right, more is a false alarm.
    Source: Le et al., Interspeech 2021 (is21_deep_bias); Wang et al., ICASSP 2024 (SlideSpeech).

    >>> scores = score({"u1": "ask meyer"}, {"u1": "ask maier"}, {"u1": ["Meyer", "Zorvan"]}, samples=0)
    >>> scores.systems[0].figures["b_wer"].value, scores.systems[0].lines[0].missed
    (100.0, ('Meyer',))
    """
    given = Given(references, lists or {}, biasing or {}, predicted or {})
    options = Options(definition, normaliser, samples, seed, unit, missing_as_deletions)
    return score_systems(given, {"system": ("", "", hypotheses)}, options)


def score_systems(given: Given, systems: Mapping[str, tuple[str, str, Mapping[str, str]]], options: Options) -> Scores:
    """Score systems on one test set.

    Args:
        systems: By name: caption, source file, and hypotheses by id.
    Raises: as `score`.
    """
    prepared = _Prepared(given, options)
    utterances = tuple(prepared.utterances)
    unit, codes, units = units_of(utterances, options.unit)
    parts = parts_of_utterances(utterances, prepared.list_sizes)
    base: Sums | None = None
    scored = []
    for name, (caption, source, hypotheses) in systems.items():
        system, sums = _score_system(name, caption, source, hypotheses, prepared, parts, codes, options, base)
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


class _Prepared:
    """References and lists as they are looked up: made once, whatever the number of systems."""

    def __init__(self, given: Given, options: Options) -> None:
        self.definition = definition_of(options.definition)
        self.normaliser = options.normaliser
        self.clean = normaliser_of(options.normaliser)
        self.upper = self.definition.upper_case
        for ids, what in ((given.lists, "lists"), (given.biasing, "biasing words"), (given.predicted, "answers")):
            if ids:
                check_same_ids(given.references, ids, what)
        self.given = given
        self.training = given.training
        self._last: tuple[Sequence[str] | None, KeywordList] = (None, KeywordList(()))
        self.utterances: list[Utterance] = []
        self.tokens: list[list[str]] = []  # of the references, as they are aligned
        self.caseless: list[list[str]] = []  # the same, as keywords are looked up in them
        self.places: list[Places] = []
        self.list_sizes: list[int] = []
        self.has_phrases = False
        for id, text in given.references.items():
            self._add(id, self.text(text))

    def text(self, text: str) -> str:
        """Text as it is scored: normalised, words separated by single spaces."""
        return " ".join(words(self.clean(text)))

    def tokens_of(self, text: str) -> list[str]:
        """Words as they are aligned; the same word is the same object, which saves most of the memory."""
        return list(map(sys.intern, (text.upper() if self.upper else text).split()))

    def list_of(self, utterance: Utterance) -> KeywordList:
        """An utterance's list."""
        return self._list(utterance.keywords)

    def _list(self, keywords: Sequence[str]) -> KeywordList:
        """A list ready to be looked up; of utterances in a row that share one, it is made once."""
        if self._last[0] is not keywords:
            self._last = (keywords, KeywordList(keywords, self.normaliser))
        return self._last[1]

    def _add(self, id: str, text: str) -> None:
        given, details = self.given, self.given.details.get(id, NO_DETAILS)
        keywords = given.lists.get(id, ())
        listed = self._list(keywords)
        tokens = self.tokens_of(text)
        found = tokens if text.isascii() and text.islower() and not self.upper else caseless(text)
        places = listed.places(found)
        if given.biasing:
            biasing = {word for one in given.biasing[id] for word in caseless(self.clean(one))}
        elif self.definition.name == "slidespeech":
            # SlideSpeech knows single words: any word of the list in the reference, its phrase complete or not.
            biasing = set(found).intersection(listed.list_words) if listed.has_phrases else places.keys()
        else:
            biasing = {word for keyword in places for word in keyword.split()}
        predicted = given.predicted.get(id) if given.predicted else None
        talk, speaker = _talk_and_speaker(id, details)
        self.utterances.append(
            Utterance(
                id,
                text,
                keywords,
                listed.spelt(places),
                tuple(sorted(biasing)),
                None if predicted is None else tuple(predicted),
                details.duration,
                talk,
                speaker,
            )
        )
        self.tokens.append(tokens)
        self.caseless.append(found)
        self.places.append(places)
        self.list_sizes.append(len(keywords))
        self.has_phrases = self.has_phrases or listed.has_phrases


def _score_system(
    name: str,
    caption: str,
    source: str,
    hypotheses: Mapping[str, str],
    prepared: _Prepared,
    parts: Parts,
    codes: np.ndarray | None,
    options: Options,
    base: Sums | None,
) -> tuple[System, Sums]:
    utterances = prepared.utterances
    missing = _missing(prepared.given.references, hypotheses, source or "hypotheses", options)
    texts = [prepared.text(hypotheses[one.id]) if one.id in hypotheses else None for one in utterances]
    pairs = [
        # The same list object twice is the sign of an utterance without errors.
        (tokens, tokens if text == one.reference else prepared.tokens_of(text or ""))
        for tokens, text, one in zip(prepared.tokens, texts, utterances, strict=True)
    ]
    moves = moves_of(pairs, prepared.definition)
    tally = KeywordTally()
    columns = _columns(prepared, texts, moves, tally)
    lines = MarkedLines(utterances, texts, moves, prepared.definition, prepared.list_of)
    sums = resample(by_unit({**columns, **parts.columns(columns)}, codes), options.samples, options.seed)
    figures = {figure: measure(how, sums) for figure, how in FIGURES.items()}
    if base is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            figures["b_wer_vs_none"] = bounds(FIGURES["b_wer"].of(sums) / FIGURES["b_wer"].of(base))
    errors = {half: _errors(columns, half) for half in HALVES}
    kinds = tuple(
        ErrorType(kind, *(getattr(errors[half], kind) for half in HALVES), measure(KIND_FIGURES[kind], sums))
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
    references: Mapping[str, str], hypotheses: Mapping[str, str], what: str, options: Options
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
    prepared: _Prepared, texts: Sequence[str | None], moves: Sequence[Moves], tally: KeywordTally
) -> dict[str, np.ndarray]:
    """Everything that is counted, by utterance."""
    definition, training = prepared.definition, prepared.training
    keyword, phrase, word, seen, unseen = [], [], [], [], []
    spoken_pairs, biasing = [], []
    in_training: list[list[tuple[int, int]]] = []
    for position, (one, text) in enumerate(zip(prepared.utterances, texts, strict=True)):
        said = written = prepared.places[position]
        hypothesis = reference = prepared.caseless[position]
        if text != one.reference:
            listed = prepared.list_of(one)
            hypothesis = caseless(text or "")
            written = listed.places(hypothesis)
            tally.add_errors(position, listed, said, written)
        tally.add(said)
        keyword.append(_count(said, written) if said or written else NO_COUNTS)
        if prepared.has_phrases:
            listed = prepared.list_of(one)
            phrase.append(_count(_phrases(said), _phrases(written)))
            word.append(_count_words(listed.list_words, reference, hypothesis))
        spoken_pairs.append((reference, hypothesis))
        biasing.append(one.biasing)
        if training is not None:
            known = [_count(*(_known(places, training, wanted) for places in (said, written))) for wanted in (1, 0)]
            seen.append(known[0])
            unseen.append(known[1])
            in_training.append(_errors_by_training(moves[position], reference, hypothesis, one, training, definition))
    counts = count_all(spoken_pairs, moves, biasing, definition)
    columns = {**error_columns(counts), **_kinds_by_half(counts), **count_columns("keyword", keyword)}
    columns |= count_columns("phrase", phrase or [NO_COUNTS] * len(texts))
    # Where all entries are single words, the words of the list are its entries.
    columns |= count_columns("word", word or keyword)
    columns["utterances"] = np.ones(len(texts), dtype=np.int64)
    if training is not None:
        for name, counted, half in (("seen", seen, 0), ("unseen", unseen, 1)):
            columns |= count_columns(f"{name}_keyword", counted)
            errors = np.array([one[half] for one in in_training], dtype=np.int64).reshape(-1, 2)
            columns |= {f"{name}_biased_words": errors[:, 0], f"{name}_biased_errors": errors[:, 1]}
            columns[f"{name}_utterances"] = (np.array(counted).reshape(-1, 3).sum(axis=1) > 0).astype(np.int64)
    return columns


def _count(said: Places, written: Places) -> tuple[int, int, int]:
    """Occurrences right, too many and missed (tp, fp, fn); see `keywords.compare`."""
    if written is said:
        return sum(map(len, said.values())), 0, 0
    tp = sum(min(len(places), len(written.get(keyword, ()))) for keyword, places in said.items())
    return tp, sum(map(len, written.values())) - tp, sum(map(len, said.values())) - tp


def _phrases(places: Places) -> Places:
    return {keyword: found for keyword, found in places.items() if " " in keyword}


def _known(places: Places, training: Collection[str], wanted: int) -> Places:
    return {keyword: found for keyword, found in places.items() if _is_known(keyword, training) == wanted}


def _is_known(keyword: Keyword, training: Collection[str]) -> bool:
    return all(word in training for word in keyword.split())


def _count_words(listed: Collection[str], reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int, int]:
    said = Counter(word for word in reference if word in listed)
    written = said if hypothesis is reference else Counter(word for word in hypothesis if word in listed)
    tp = (said & written).total()
    return tp, written.total() - tp, said.total() - tp


def _errors_by_training(
    moves: Moves,
    reference: list[str],
    hypothesis: list[str],
    one: Utterance,
    training: Collection[str],
    how: Definition,
) -> list[tuple[int, int]]:
    """Biasing words and their errors, of words that training knew and of those it did not."""
    found = []
    for wanted in (True, False):
        inside = {word for word in one.biasing if (word in training) == wanted}
        spoken, *errors = count_edits(moves, reference, hypothesis, inside, how) if inside else (0,)
        found.append((spoken, sum(errors)))
    return found


def _kinds_by_half(counts: np.ndarray) -> dict[str, np.ndarray]:
    halves = {"unbiased": counts[:, :4], "biased": counts[:, 4:]}
    return {f"{half}_{kind}": part[:, at] for half, part in halves.items() for at, kind in enumerate(KINDS, start=1)}


def _errors(columns: Mapping[str, np.ndarray], half: str) -> Errors:
    prefix = "" if half == "all" else f"{half}_"
    return Errors(int(columns[f"{half}_words"].sum()), *(int(columns[f"{prefix}{kind}"].sum()) for kind in KINDS))


def _total(columns: Mapping[str, np.ndarray], name: str) -> KeywordCounts:
    return KeywordCounts(*(int(columns[f"{name}_{count}"].sum()) for count in ("tp", "fp", "fn")))


def _score_selection(prepared: _Prepared, parts: Parts, codes: np.ndarray | None, options: Options) -> Selection:
    """Stage 1's answers against the entries that were said."""
    counts, picked = [], 0
    for one, places in zip(prepared.utterances, prepared.places, strict=True):
        answer = KeywordList(one.predicted or (), options.normaliser).spelling.keys()
        picked += len(answer)
        right = len(answer & places.keys())
        counts.append((right, len(answer) - right, len(places) - right))
    columns = count_columns("keyword", counts)
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
_NUMBERED = re.compile(r"(.*\w)[-_.]\d+")


def _talk_and_speaker(id: str, details: Details) -> tuple[str | None, str | None]:
    """Talk and speaker as given, else as the id has them: `SPEAKER-CHAPTER-NUMBER` (LibriSpeech), `TALK-NUMBER`."""
    if details.talk is not None or details.speaker is not None:
        return details.talk, details.speaker
    if match := _LIBRISPEECH.fullmatch(id):
        return None, match.group(1)
    match = _NUMBERED.fullmatch(id)
    return (match.group(1) if match else None), None


def units_of(utterances: Sequence[Utterance], wanted: str) -> tuple[Unit, np.ndarray | None, int]:
    """What is drawn, each utterance's unit as a number (None: itself), and how many units there are."""
    if wanted not in UNITS:
        raise ParamsError(f"unit: got {wanted!r}, expected one of: {', '.join(UNITS)}")
    for unit in ("talk", "speaker") if wanted == "auto" else (wanted,):
        if unit == "utterance":
            break
        names = [getattr(one, unit) for one in utterances]
        if None in names:
            if wanted != "auto":
                raise ParamsError(
                    f"unit: {unit} is not known of {utterances[names.index(None)].id}; "
                    "draw utterances, or give a manifest in which every utterance has one"
                )
            continue
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        if wanted != "auto" or len(numbers) >= FEWEST_UNITS:
            return unit, np.array([numbers[name] for name in names]), len(numbers)
    return "utterance", None, len(utterances)


def by_unit(columns: Mapping[str, np.ndarray], codes: np.ndarray | None) -> Mapping[str, np.ndarray]:
    """Counts by utterance summed over each unit."""
    if codes is None:
        return columns
    return {name: np.bincount(codes, weights=column) for name, column in columns.items()}
