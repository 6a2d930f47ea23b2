"""The published deep-bias scorer, re-stated: what it computes and in which steps, in plain Python. A baseline for time.

The script beside the results of is21_deep_bias (Le et al., Interspeech 2021) fills, for each utterance, one table of
edit costs and one of back pointers, cell by cell. Every candidate's cost comes from a function that looks at the kind
of edit (equal 0, insertion and deletion 3, substitution 4); on equal cost the diagonal wins, then insertion, then
deletion. Back pointers are places in the table counted row by row, taken apart again on the way back; then every
aligned word is counted. This follows those steps and is written anew: none of the script's code is used.

    python benchmarks/scoring/published.py --refs ref.tsv --hyps hyp.tsv
"""

import argparse
import json
from collections import deque
from enum import Enum


class Step(Enum):
    EQUAL = 1
    SUBSTITUTION = 2
    INSERTION = 3
    DELETION = 4


class Errors:
    """Errors over a number of reference words."""

    def __init__(self) -> None:
        self.words = 0
        self.of = {Step.SUBSTITUTION: 0, Step.INSERTION: 0, Step.DELETION: 0}

    def __str__(self) -> str:
        return (
            f"error_rate={100.0 * sum(self.of.values()) / self.words}, ref_words={self.words}, "
            f"subs={self.of[Step.SUBSTITUTION]}, ins={self.of[Step.INSERTION]}, dels={self.of[Step.DELETION]}"
        )


def cost(step: Step) -> int:
    if step == Step.EQUAL:
        return 0
    if step == Step.INSERTION or step == Step.DELETION:
        return 3
    return 4


def place(row: int, column: int, columns: int) -> int:
    return int(row * columns + column)


def row_of(at: int, columns: int) -> int:
    return int(at / columns)


def column_of(at: int, columns: int) -> int:
    return int(at % columns)


def fill(reference: list[str], hypothesis: list[str]) -> list[list[int]]:
    """Back pointers of the cheapest alignment."""
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    costs = [[0.0] * columns for _ in range(rows)]
    back = [[0] * columns for _ in range(rows)]
    for row in range(rows):
        for column in range(columns):
            if row == 0 and column == 0:
                continue
            if row == 0:
                costs[row][column] = costs[row][column - 1] + cost(Step.INSERTION)
                back[row][column] = place(row, column - 1, columns)
                continue
            if column == 0:
                costs[row][column] = costs[row - 1][column] + cost(Step.DELETION)
                back[row][column] = place(row - 1, column, columns)
                continue
            same = reference[row - 1] == hypothesis[column - 1]
            best = costs[row - 1][column - 1] + cost(Step.EQUAL if same else Step.SUBSTITUTION)
            from_row, from_column = row - 1, column - 1
            inserted = costs[row][column - 1] + cost(Step.INSERTION)
            if inserted < best:
                best, from_row, from_column = inserted, row, column - 1
            deleted = costs[row - 1][column] + cost(Step.DELETION)
            if deleted < best:
                best, from_row, from_column = deleted, row - 1, column
            costs[row][column] = best
            back[row][column] = place(from_row, from_column, columns)
    return back


def align(reference: list[str], hypothesis: list[str]) -> deque[tuple[Step, int, int]]:
    """Steps with the places of their words, first word first."""
    back = fill(reference, hypothesis)
    columns = len(hypothesis) + 1
    at = place(len(reference), len(hypothesis), columns)
    steps: deque[tuple[Step, int, int]] = deque()
    while at != 0:
        row, column = row_of(at, columns), column_of(at, columns)
        before = back[row][column]
        from_row, from_column = row_of(before, columns), column_of(before, columns)
        if from_row == row - 1 and from_column == column:
            step = Step.DELETION
        elif from_row == row and from_column == column - 1:
            step = Step.INSERTION
        else:
            step = Step.EQUAL if reference[row - 1] == hypothesis[column - 1] else Step.SUBSTITUTION
        steps.appendleft((step, row - 1, column - 1))
        at = before
    return steps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--refs", required=True, help="id, text, rare words (JSON), list (JSON), separated by tabs")
    parser.add_argument("--hyps", required=True, help="id, text, separated by a tab")
    arguments = parser.parse_args()
    references = {}
    with open(arguments.refs, encoding="utf-8") as lines:
        for line in lines:
            cells = line.strip().split("\t")
            references[cells[0]] = (cells[1], set(json.loads(cells[2])))
    hypotheses = {}
    with open(arguments.hyps, encoding="utf-8") as lines:
        for line in lines:
            cells = line.strip().split("\t")
            hypotheses[cells[0]] = cells[1] if len(cells) > 1 else ""
    whole, unbiased, biased = Errors(), Errors(), Errors()
    for id, (text, rare) in references.items():
        reference, hypothesis = text.split(), hypotheses[id].split()
        for step, row, column in align(reference, hypothesis):
            word = hypothesis[column] if step == Step.INSERTION else reference[row]
            half = biased if word in rare else unbiased
            for errors in (whole, half):
                if step != Step.INSERTION:
                    errors.words += 1
                if step != Step.EQUAL:
                    errors.of[step] += 1
    print(f"WER: {whole}\nU-WER: {unbiased}\nB-WER: {biased}")


if __name__ == "__main__":
    main()
