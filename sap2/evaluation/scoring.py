"""Score one or more systems on the same utterances: the one place in which anything is counted.

Texts and lists go in by id, `Scores` come out. Files are read in `reading`, results are written in `output`, `report`
and `evaluate`; none of those counts anything.
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
# What is counted of a reference, and what is wrong in a hypothesis; the second of each, where the words of the training
# text are known, for those of them and for the others.
_SPOKEN = ("all_words", "biased_words", "keyword_said", "phrase_said", "word_said")
_SPOKEN_KNOWN = ("biased_words", "keyword_said")
_WRONG = (
    *(f"{half}_{kind}" for half in ("all", "biased") for kind in KINDS),
    *(f"{what}_{count}" for what in ("keyword", "phrase", "word") for count in ("fp", "fn")),
)
_WRONG_KNOWN = ("biased_errors", "keyword_fp", "keyword_fn")
LISTS_AT_ONCE = 50  # some hundred entries each; what looking for them takes stays in the processor's cache
FEWEST_UNITS = 10  # below, drawing speakers or talks says little: utterances are drawn instead


class Options(NamedTuple):
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


class Details(NamedTuple):
    """What is known of an utterance besides its words: seconds, talk and speaker; None = unknown."""

    duration: float | None = None
    talk: str | None = None
    speaker: str | None = None


NO_DETAILS = Details()
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Given(NamedTuple):
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
    lists: Mapping[str, Sequence[str]] = NOTHING
    biasing: Mapping[str, Sequence[str]] = NOTHING
    predicted: Mapping[str, Sequence[str]] = NOTHING
    details: Mapping[str, Details] = NOTHING
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


def score_systems(
    given: Given, systems: Mapping[str, tuple[str, str, Mapping[str, str | None]]], options: Options
) -> Scores:
    """Score systems on one test set.

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
    """A text as it is scored.

    Attributes:
        text: Normalised, words separated by single spaces.
        tokens: Its words as they are aligned.
        words: The same words without case, as keywords are looked up in them.
    """

    text: str
    tokens: list[str]
    words: list[str]


NO_TEXT = Text("", [], [])


class _Prepared:
    """The test set as everything is looked up and counted in it: made once, whatever the number of systems.

    Attributes:
        utterances: The references and what is known of them.
        references: What was said.
        wrong: For each system its hypotheses that are not the same as the reference, by the utterance's place; None =
            missing.
        said: The keywords that come in each reference, as often as they do.
        known: "seen" and "unseen", where the words of the training text are given.
        counts: What is counted of a reference, by utterance, in the order of `_SPOKEN` and, for each of `known`, of
            `_SPOKEN_KNOWN`.
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
        self._found = self._entries_found()
        self._last: tuple[Sequence[str] | None, KeywordList] = (None, KeywordList())
        self.list_sizes = list(map(len, self._lists))
        self.utterances: list[Utterance] = []
        self.said: list[list[Keyword]] = []
        self.counts: list[list[int]] = []
        for place, (id, text) in enumerate(zip(given.references, self.references, strict=True)):
            self._add(place, id, text, given)

    def _text(self, text: str) -> Text:
        pieces = words(self._clean(text))
        text = " ".join(pieces)
        tokens = text.upper().split() if self.definition.upper_case else pieces
        return Text(text, tokens, pieces if text.isascii() and text.islower() else caseless(text))

    def _wrong(self, references: Mapping[str, str], hypotheses: Mapping[str, str | None]) -> dict[int, Text | None]:
        found: dict[int, Text | None] = {}
        for place, (id, reference) in enumerate(references.items()):
            hypothesis = hypotheses.get(id)
            if hypothesis is None:
                found[place] = None
            elif hypothesis != reference and (text := self._text(hypothesis)).text != self.references[place].text:
                found[place] = text
        return found

    def list_at(self, place: int) -> KeywordList:
        """An utterance's list, or as much of it as can be found in the texts."""
        entries = self._found.get(place)
        if entries is not None:
            return KeywordList.of_words(entries)
        # Of utterances in a row that share a list, it is made once.
        if self._last[0] is not self._lists[place]:
            self._last = (self._lists[place], KeywordList(self._lists[place], self._normaliser))
        return self._last[1]

    def _entries_found(self) -> dict[int, dict[Keyword, str]]:
        """By utterance the entries of its list that are words of any text, where that can be told for many at once."""
        found: dict[int, dict[Keyword, str]] = {}
        cells = [(place, listed) for place, listed in enumerate(self._lists) if isinstance(listed, ListCell)]
        if self._normaliser != "none" or not cells:
            return found
        texts = chain(self.references, *(wrong.values() for wrong in self.wrong.values()))
        vocabulary = Vocabulary(set().union(*[text.words for text in texts if text is not None]))
        for start in range(0, len(cells), LISTS_AT_ONCE):
            part = cells[start : start + LISTS_AT_ONCE]
            entries = vocabulary.entries_of([listed for _, listed in part])
            if entries is not None:
                found.update(zip([place for place, _ in part], entries, strict=True))
        return found

    def _add(self, place: int, id: str, text: Text, given: Given) -> None:
        details = given.details.get(id, NO_DETAILS)
        listed = self.list_at(place)
        said = listed.occurrences(text.words)
        if given.biasing:
            named = given.biasing[id]
            biasing = set(caseless(" ".join(map(self._clean, named)))) if named else set()
        elif self.definition.name == "slidespeech":
            # SlideSpeech knows single words: any word of the list in the reference, its phrase complete or not.
            biasing = set(text.words).intersection(listed.list_words)
        else:
            biasing = {word for keyword in said for word in keyword.split()}
        predicted = given.predicted.get(id) if given.predicted else None
        utterance = Utterance(
            id,
            text.text,
            self._lists[place],
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
        # Where all entries are single words, the words of the list are its entries.
        phrases, single = 0, len(said)
        if listed.has_phrases:
            phrases = sum(" " in keyword for keyword in said)
            single = _within(words, listed.list_words)
        counts = [len(words), _within(words, biasing), len(said), phrases, single]
        for known in self.known:
            counts += [_within(words, set(self.of_training(biasing, known))), len(self.of_training(said, known))]
        return counts

    def of_training(self, keywords: Iterable[Keyword], known: str) -> list[Keyword]:
        """Those of some keywords that are "seen" in the training text, or "unseen"."""
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
    texts = {place: None if text is None else text.text for place, text in wrong.items()}
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
    """Everything that is counted, by utterance, and the alignments of the hypotheses that are not right."""
    spoken = [*_SPOKEN, *(f"{known}_{name}" for known in prepared.known for name in _SPOKEN_KNOWN)]
    counts = np.array(prepared.counts, dtype=np.int64).reshape(-1, len(spoken))
    columns = dict(zip(spoken, counts.T, strict=True))
    pairs = [(prepared.references[place], text or NO_TEXT) for place, text in wrong.items()]
    found = moves_of([(said.tokens, written.tokens) for said, written in pairs], prepared.definition)
    moves = dict(zip(wrong, found, strict=True))
    wrongs = [
        _count_wrong(made, place, reference.words, hypothesis.words, prepared, tally)
        for (place, made), (reference, hypothesis) in zip(moves.items(), pairs, strict=True)
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
    place: int,
    reference: list[str],
    hypothesis: list[str],
    prepared: _Prepared,
    tally: KeywordTally,
) -> list[int]:
    """What is wrong in one utterance, in the order of `_WRONG` and, for each of `prepared.known`, of `_WRONG_KNOWN`.

    Args:
        reference, hypothesis: Caseless words.
    """
    definition, biasing = prepared.definition, prepared.utterances[place].biasing
    said, listed = prepared.said[place], prepared.list_at(place)
    written = listed.occurrences(hypothesis)
    wrong = surplus(said, written) if said != written else {}
    if wrong:
        tally.add(place, listed, wrong)
    keyword = _false_and_missed(wrong)
    # Where all entries are single words, the words of the list are its entries.
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
    """How much is written more often than said (fp), and said more often than written (fn), by `surplus`.

    Source: SlideSpeech's scorer, whose recall is by occurrences too; it prints no figure that `fp` enters, ours does.
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
    """Stage 1's answers against the entries that were said."""
    counts, picked = [], 0
    for one, said in zip(prepared.utterances, prepared.said, strict=True):
        answer = KeywordList(one.predicted or (), options.normaliser).spelling.keys()
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
    """Talk and speaker as given, else as the id has them: `SPEAKER-CHAPTER-NUMBER` (LibriSpeech), `TALK-NUMBER`."""
    if details.talk is not None or details.speaker is not None:
        return details.talk, details.speaker
    if match := _LIBRISPEECH.fullmatch(id):
        return None, match.group(1)
    match = re.fullmatch(_NUMBERED, id)
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
