"""The table of families in docs/families.md, measured on the tests' tiny random bases.

    python benchmarks/model/families.py

Greatest differences of logits in float32: of ours with W = 1 from the stock model's, on its own features and on ours,
and of a row alone from the same row in a batch. Training losses: the first and the second ten steps of each stage.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from family_measures import LISTS, WAVES, batch_difference, corpus, losses, module_lines, stock_differences, texts
from tiny_families import build_tiny

from sap2.model import FAMILIES, family_named

COLUMNS = [
    "family", "`model_type`", "W = 1, stock features", "W = 1, our features", "batch − single", "text, batch = single",
    "loss, pruner", "loss, transcriber", "lines",
]  # fmt: skip


def row(name: str, folder: Path, data: Path) -> str:
    """A family's line of the table."""
    base = build_tiny(name, folder / "base")
    same, own = stock_differences(base)
    alike = texts(base) == [texts(base, [wave], [words])[0] for wave, words in zip(WAVES, LISTS, strict=True)]
    trained = [losses(base, data, stage, folder / stage) for stage in ("pruner", "recogniser")]
    falls = [f"{first:.2f} → {second:.2f}" for first, second in trained]
    cells = [
        family_named(name).title, f"`{name}`", f"{same:g}", f"{own:.0g}", f"{batch_difference(base):.0g}",
        "yes" if alike else "no", *falls, str(module_lines(name)),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    print(f"| {' | '.join(COLUMNS)} |")
    print("|" + "---|" * len(COLUMNS))
    with tempfile.TemporaryDirectory() as scratch:
        data = corpus(Path(scratch) / "corpus")
        for name in FAMILIES:
            print(row(name, Path(scratch) / name, data), flush=True)


if __name__ == "__main__":
    main()
