"""Aligned lines with marked keywords, computed on access, and the errors of each keyword."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Literal

from sap2.evaluation.alignment import Alignment, Definition, Moves, edits_of
from sap2.evaluation.keywords import Keyword, KeywordList, Places, caseless, covered
from sap2.evaluation.normalise import folded
from sap2.evaluation.scores import KeywordErrors, Line, Utterance, WordPair

__all__ = ["KeywordTally", "MarkedLines", "differences", "marked"]


class MarkedLines(Sequence[Line]):
    """A system's aligned lines, computed on access: alignments are stored as one byte per edit, everything else is
    recomputed from the texts. A hundred thousand lines of objects would not fit in memory."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        wrong: Mapping[int, str | None],
        moves: Mapping[int, Moves],
        definition: Definition,
        list_at: Callable[[int], KeywordList],
    ) -> None:
        self._utterances, self._wrong, self._moves = utterances, wrong, moves
        self._definition, self._list_at = definition, list_at

    def __len__(self) -> int:
        return len(self._utterances)

    def edits(self, index: int) -> Alignment:
        """The alignment of an utterance, without marks."""
        reference = self._utterances[index].reference
        hypothesis = self._wrong.get(index, reference) or ""
        return edits_of(self._moves.get(index), reference.split(), hypothesis.split())

    def __getitem__(self, position: int) -> Line:  # type: ignore[override]  # one line at a time: no slices
        position = range(len(self))[position]
        utterance = self._utterances[position]
        hypothesis = self._wrong.get(position, utterance.reference)
        listed = self._list_at(position)
        text = hypothesis or ""
        said, written = listed.places(caseless(utterance.reference)), listed.places(caseless(text))
        pairs = marked(self.edits(position), utterance, said, written, self._definition)
        wrong = [pair for pair in pairs if pair.kind != "equal"]
        missed, false = differences(said, written)
        return Line(
            hypothesis=text,
            pairs=pairs,
            errors=len(wrong),
            biased_errors=sum(pair.biased for pair in wrong),
            missed=listed.spelt(missed),
            false_alarms=listed.spelt(false),
            absent=hypothesis is None,
        )


def marked(
    edits: Alignment, utterance: Utterance, said: Places, written: Places, definition: Definition
) -> tuple[WordPair, ...]:
    """Mark the keywords in an alignment.

    Args:
        said, written: Occurrences of list entries in the reference and in the hypothesis.
    """
    said_at = covered(said, said)
    false_at = covered(written, differences(said, written)[1])
    inside = set(utterance.biasing)
    inserted = inside.intersection(caseless(utterance.reference)) if definition.insertions_must_be_spoken else inside
    pairs = []
    row = column = 0
    for kind, spoken, wrote in edits:
        is_said = spoken is not None and row in said_at
        # A right word of a spoken entry is not a false alarm, even if it is part of another entry.
        is_false = wrote is not None and column in false_at and not (kind == "equal" and is_said)
        biased = folded(wrote or "") in inserted if spoken is None else folded(spoken) in inside
        mark: Literal["", "found", "missed"] = "" if not is_said else "found" if kind == "equal" else "missed"
        pairs.append(WordPair(kind, spoken, wrote, biased, mark, "false" if is_false else ""))
        row += spoken is not None
        column += wrote is not None
    return tuple(pairs)


def differences(said: Places, written: Places) -> tuple[list[Keyword], list[Keyword]]:
    """Return the entries spoken more often than written, and those written more often than spoken."""
    missed = [keyword for keyword in said if len(said[keyword]) > len(written.get(keyword, ()))]
    false = [keyword for keyword in written if len(written[keyword]) > len(said.get(keyword, ()))]
    return missed, false


class KeywordTally:
    """Collect the errors of each list entry over utterances.

    Args:
        said: The keyword occurrences in each reference.
    """

    def __init__(self, said: Sequence[Sequence[Keyword]]) -> None:
        self._said = said
        self._missed: Counter[Keyword] = Counter()
        self._false_alarms: Counter[Keyword] = Counter()
        self._spelling: dict[Keyword, str] = {}
        self._wrong_in: defaultdict[Keyword, list[int]] = defaultdict(list)

    def add(self, index: int, listed: KeywordList, surplus: Mapping[Keyword, int]) -> None:
        """Count the missed (above zero) and falsely written (below zero) entries of an utterance."""
        for keyword, times in surplus.items():
            (self._missed if times > 0 else self._false_alarms)[keyword] += abs(times)
            self._spelling.setdefault(keyword, listed.spelling[keyword])
            self._wrong_in[keyword].append(index)

    def worst(self, utterances: Sequence[Utterance], lines: "MarkedLines", shown: int = 50) -> list[KeywordErrors]:
        """Return the entries with most errors, and what was written instead."""

        def errors(keyword: Keyword) -> int:
            return self._missed[keyword] + self._false_alarms[keyword]

        said = Counter(chain.from_iterable(self._said))
        worst = sorted(self._wrong_in, key=lambda keyword: (-errors(keyword), keyword))[:shown]
        return [
            KeywordErrors(
                keyword=self._spelling[keyword],
                said=said[keyword],
                found=said[keyword] - self._missed[keyword],
                missed=self._missed[keyword],
                false_alarms=self._false_alarms[keyword],
                instead=tuple(self._instead(keyword, lines).most_common()),
                ids=tuple(utterances[index].id for index in self._wrong_in[keyword]),
            )
            for keyword in worst
        ]

    def _instead(self, keyword: Keyword, lines: "MarkedLines") -> Counter[str]:
        pieces = keyword.split()
        texts: Counter[str] = Counter()
        for index in self._wrong_in[keyword]:
            edits = lines.edits(index)
            spoken = [at for at, edit in enumerate(edits) if edit.reference is not None]
            text = caseless(" ".join([edits[at].reference or "" for at in spoken]))
            for start in range(len(text) - len(pieces) + 1):
                if text[start : start + len(pieces)] == pieces:
                    first, last = spoken[start], spoken[start + len(pieces) - 1]
                    replacement = [edit.hypothesis for edit in edits[first : last + 1] if edit.hypothesis is not None]
                    if caseless(" ".join(replacement)) != pieces:
                        texts[" ".join(replacement)] += 1
        return texts
