"""The published deep-bias scorer, re-stated: what it computes and how, in plain Python. A baseline for time, no more.

The algorithm is that of the script beside the results of is21_deep_bias (Le et al., Interspeech 2021): for each
utterance a full table of edit costs with back pointers, filled cell by cell (insertion 3, deletion 3, substitution 4;
on equal cost diagonal, then insertion, then deletion), then a count of every aligned word. Written anew from that
description; none of the script's code is used.

    python benchmarks/scoring/published.py --refs ref.tsv --hyps hyp.tsv
"""

import argparse
import json

INSERTION, DELETION, SUBSTITUTION = 3, 3, 4


class Cell:
    """One entry of the table: the cheapest cost so far, and the step that led to it."""

    def __init__(self, cost: int, step: str) -> None:
        self.cost = cost
        self.step = step


class Counter:
    """Errors over a number of reference words."""

    def __init__(self) -> None:
        self.words = self.substitutions = self.insertions = self.deletions = 0

    def __str__(self) -> str:
        errors = self.substitutions + self.insertions + self.deletions
        return (
            f"error_rate={100.0 * errors / self.words}, ref_words={self.words}, "
            f"subs={self.substitutions}, ins={self.insertions}, dels={self.deletions}"
        )


def align(reference: list[str], hypothesis: list[str]) -> list[tuple[str, str | None, str | None]]:
    """Aligned words as (step, said, written)."""
    table = [[Cell(0, "")] + [Cell(INSERTION * column, "insertion") for column in range(1, len(hypothesis) + 1)]]
    for row, said in enumerate(reference, start=1):
        cells = [Cell(DELETION * row, "deletion")]
        for column, written in enumerate(hypothesis, start=1):
            cost = table[row - 1][column - 1].cost + (0 if said == written else SUBSTITUTION)
            best = Cell(cost, "equal" if said == written else "substitution")
            inserted = cells[column - 1].cost + INSERTION
            if inserted < best.cost:
                best = Cell(inserted, "insertion")
            deleted = table[row - 1][column].cost + DELETION
            if deleted < best.cost:
                best = Cell(deleted, "deletion")
            cells.append(best)
        table.append(cells)
    row, column = len(reference), len(hypothesis)
    aligned = []
    while row or column:
        step = table[row][column].step
        if step == "insertion":
            column -= 1
            aligned.append((step, None, hypothesis[column]))
        elif step == "deletion":
            row -= 1
            aligned.append((step, reference[row], None))
        else:
            row, column = row - 1, column - 1
            aligned.append((step, reference[row], hypothesis[column]))
    return aligned[::-1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--refs", required=True, help="id, text, rare words (JSON), list (JSON), separated by tabs")
    parser.add_argument("--hyps", required=True, help="id, text, separated by a tab")
    arguments = parser.parse_args()
    references = {}
    with open(arguments.refs, encoding="utf-8") as lines:
        for line in lines:
            id, text, rare, _ = line.rstrip("\n").split("\t")
            references[id] = (text.split(), set(json.loads(rare)))
    hypotheses = {}
    with open(arguments.hyps, encoding="utf-8") as lines:
        for line in lines:
            id, _, text = line.rstrip("\n").partition("\t")
            hypotheses[id] = text.split()
    all_, unbiased, biased = Counter(), Counter(), Counter()
    for id, (reference, rare) in references.items():
        for step, said, written in align(reference, hypotheses[id]):
            half = biased if (written if said is None else said) in rare else unbiased
            for counter in (all_, half):
                counter.words += said is not None
                counter.substitutions += step == "substitution"
                counter.insertions += step == "insertion"
                counter.deletions += step == "deletion"
    print(f"WER: {all_}\nU-WER: {unbiased}\nB-WER: {biased}")


if __name__ == "__main__":
    main()
