"""Aligned lines with their keywords marked, each made when it is asked for, and what went wrong with each keyword."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from sap2.evaluation.alignment import Definition, Moves, edits_of
from sap2.evaluation.keywords import Keyword, KeywordList, Places, caseless, covered
from sap2.evaluation.normalise import folded
from sap2.evaluation.scored import KeywordErrors, Line, Utterance, WordPair

__all__ = ["KeywordTally", "MarkedLines", "differences", "marked"]


class MarkedLines(Sequence[Line]):
    """One system's lines: alignments are kept in a byte an edit, everything else is made again from the texts when it
    is asked for. A hundred thousand lines of objects would not fit in memory."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        hypotheses: Sequence[str | None],
        moves: Sequence[Moves],
        definition: Definition,
        list_of: Callable[[Utterance], KeywordList],
    ) -> None:
        self._utterances, self._hypotheses, self._moves = utterances, hypotheses, moves
        self._definition, self._list_of = definition, list_of

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, position: int) -> Line:
        utterance, hypothesis = self._utterances[position], self._hypotheses[position]
        listed = self._list_of(utterance)
        text = hypothesis or ""
        said, written = listed.places(caseless(utterance.reference)), listed.places(caseless(text))
        pairs = marked(self._moves[position], utterance, text, said, written, self._definition)
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
    moves: Moves, utterance: Utterance, hypothesis: str, said: Places, written: Places, definition: Definition
) -> tuple[WordPair, ...]:
    """An alignment with its keywords marked.

    Args:
        said, written: Where list entries stand in the reference and in the hypothesis.
    """
    said_at = covered(said, said)
    false_at = covered(written, differences(said, written)[1])
    inside = set(utterance.biasing)
    inserted = inside.intersection(caseless(utterance.reference)) if definition.insertions_must_be_spoken else inside
    pairs = []
    row = column = 0
    for kind, spoken, wrote in edits_of(moves, utterance.reference.split(), hypothesis.split()):
        is_said = spoken is not None and row in said_at
        # A word that is right, of an entry that was said, is no false alarm, whatever other entry it is part of.
        is_false = wrote is not None and column in false_at and not (kind == "equal" and is_said)
        biased = folded(wrote) in inserted if spoken is None else folded(spoken) in inside
        mark = "" if not is_said else "found" if kind == "equal" else "missed"
        pairs.append(WordPair(kind, spoken, wrote, biased, mark, "false" if is_false else ""))
        row += spoken is not None
        column += wrote is not None
    return tuple(pairs)


def differences(said: Places, written: Places) -> tuple[list[Keyword], list[Keyword]]:
    """Entries said more often than written, and entries written more often than said."""
    missed = [keyword for keyword in said if len(said[keyword]) > len(written.get(keyword, ()))]
    false = [keyword for keyword in written if len(written[keyword]) > len(said.get(keyword, ()))]
    return missed, false


class KeywordTally:
    """Gathers, utterance by utterance, what became of each list entry."""

    def __init__(self) -> None:
        self.said: Counter[Keyword] = Counter()
        self.missed: Counter[Keyword] = Counter()
        self.false_alarms: Counter[Keyword] = Counter()
        self.spelling: dict[Keyword, str] = {}
        self.wrong_in: defaultdict[Keyword, list[int]] = defaultdict(list)

    def add(self, said: Places) -> None:
        """Count what was said in one utterance."""
        for keyword, places in said.items():
            self.said[keyword] += len(places)

    def add_errors(self, position: int, listed: KeywordList, said: Places, written: Places) -> None:
        """Count what was missed and wrongly written in one utterance."""
        missed, false = differences(said, written)
        for counter, keywords in ((self.missed, missed), (self.false_alarms, false)):
            for keyword in keywords:
                counter[keyword] += abs(len(said.get(keyword, ())) - len(written.get(keyword, ())))
                if keyword not in self.spelling:
                    self.spelling[keyword] = listed.spelt([keyword])[0]
                self.wrong_in[keyword].append(position)

    def worst(self, utterances: Sequence[Utterance], lines: Sequence[Line], shown: int = 50) -> list[KeywordErrors]:
        """The entries with most errors, and what was written in their place."""

        def errors(keyword: Keyword) -> int:
            return self.missed[keyword] + self.false_alarms[keyword]

        worst = sorted(self.wrong_in, key=lambda keyword: (-errors(keyword), keyword))[:shown]
        return [
            KeywordErrors(
                keyword=self.spelling[keyword],
                said=self.said[keyword],
                found=self.said[keyword] - self.missed[keyword],
                missed=self.missed[keyword],
                false_alarms=self.false_alarms[keyword],
                instead=tuple(self._instead(keyword, lines).most_common()),
                ids=tuple(utterances[position].id for position in self.wrong_in[keyword]),
            )
            for keyword in worst
        ]

    def _instead(self, keyword: Keyword, lines: Sequence[Line]) -> Counter[str]:
        pieces = keyword.split()
        found: Counter[str] = Counter()
        for position in self.wrong_in[keyword]:
            pairs = lines[position].pairs
            spoken = [(at, pair) for at, pair in enumerate(pairs) if pair.reference is not None]
            text = caseless(" ".join(pair.reference for _, pair in spoken))
            for start in range(len(text) - len(pieces) + 1):
                if text[start : start + len(pieces)] == pieces:
                    first, last = spoken[start][0], spoken[start + len(pieces) - 1][0]
                    stands = [pair.hypothesis for pair in pairs[first : last + 1] if pair.hypothesis is not None]
                    if caseless(" ".join(stands)) != pieces:
                        found[" ".join(stands)] += 1
        return found
