"""Shares of useful, harmless and junk keywords among a deck's first 40, recall of its names, time and memory.

    python benchmarks/slides/run.py DECKS --json benchmarks/slides/records/after.json

DECKS is a folder with the decks that gold.tsv names. `--root` measures another checkout of the project.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

GOLD = Path(__file__).with_name("gold.tsv")
USEFUL = ("person", "name", "part", "term")
MARKS = (*USEFUL, "harmless", "junk")
FIRST = 40


@dataclass(frozen=True)
class Measured:
    """Counts of a deck's first keywords by mark, and of complete names among all its keywords."""

    deck: str
    keywords: int  # distinct
    first: int  # number of judged keywords
    useful: int
    harmless: int
    junk: int
    unmarked: tuple[str, ...]  # of `junk`: not in gold.tsv
    persons: int
    persons_kept: int
    persons_first: int
    names: int  # persons, products, organisations
    names_kept: int
    names_first: int
    seconds: float
    megabytes: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("decks", type=Path)
    options.add_argument("--root", type=Path, default=Path(__file__).parents[2], help="checkout to be measured")
    options.add_argument(
        "--unranked", action="store_true", help="take the first rows, if the checkout has no --max-keywords"
    )
    options.add_argument("--json", type=Path, help="where the record goes")
    arguments = options.parse_args()

    measured = []
    print("| deck | keywords | useful | harmless | junk | names in the first | names | persons | s | MB |")
    print("|---" * 10 + "|")
    for deck, gold in read_gold().items():
        every, seconds, megabytes = keywords(arguments.decks / deck, arguments.root)
        best = every[:FIRST]
        if not arguments.unranked:
            best, *_ = keywords(arguments.decks / deck, arguments.root, "--max-keywords", str(FIRST))
        measured.append(measure(deck, gold, every, best, seconds, megabytes))
        print(row(measured[-1]), flush=True)
    print(row(total(measured)))
    for deck in measured:
        if deck.unmarked:
            print(f"{deck.deck}: not in gold.tsv: {', '.join(deck.unmarked)}", file=sys.stderr)
    if arguments.json:
        record = {"first": FIRST, "decks": [asdict(deck) for deck in measured], "all": asdict(total(measured))}
        arguments.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_gold(path: Path = GOLD) -> dict[str, dict[str, str]]:
    """Read the marks of keywords by deck; keywords are compared ignoring case."""
    gold: dict[str, dict[str, str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for entry in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if entry["mark"] not in (*MARKS, "none"):
                raise ValueError(f"{path}: {entry['keyword']!r} is marked {entry['mark']!r}, expected one of {MARKS}")
            marks = gold.setdefault(entry["deck"], {})
            if entry["keyword"]:
                marks.setdefault(compared(entry["keyword"]), entry["mark"])
    return gold


def keywords(path: Path, root: Path, *options: str) -> tuple[list[str], float, float]:
    """Run the command on a deck; return its distinct keywords, seconds, and peak memory in MB."""
    command = [sys.executable, "-m", "sap2", "keywords", str(path.resolve()), *options]
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, cwd=root, env=environment(root))
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            raise SystemExit(f"{' '.join(command)} failed")
        out.seek(0)
        rows = out.read().decode().splitlines()[1:]
    return distinct(row.split("\t")[1] for row in rows), seconds, usage.ru_maxrss / 1024


def environment(root: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(root.resolve()), "OMP_NUM_THREADS": "1"}


def distinct(words: Iterable[str]) -> list[str]:
    first: dict[str, str] = {}
    for word in words:
        first.setdefault(compared(word), word)
    return list(first.values())


def compared(keyword: str) -> str:
    """Normalise a keyword for comparison: composed, casefolded, with plain hyphens and apostrophes."""
    plain = unicodedata.normalize("NFC", keyword).translate({0x2010: "-", 0x2011: "-", 0x2019: "'"})
    return " ".join(plain.casefold().split())


def measure(
    deck: str, gold: dict[str, str], every: Sequence[str], best: Sequence[str], seconds: float, megabytes: float
) -> Measured:
    """Compare a deck's keywords with the gold marks; a keyword without a mark counts as junk."""
    marks = Counter(gold.get(compared(word), "junk") for word in best)
    kept, kept_first = set(map(compared, every)), set(map(compared, best))
    persons = {word for word, mark in gold.items() if mark == "person"}
    names = persons | {word for word, mark in gold.items() if mark == "name"}
    return Measured(
        deck, len(every), len(best), sum(marks[mark] for mark in USEFUL), marks["harmless"], marks["junk"],
        tuple(word for word in best if compared(word) not in gold),
        len(persons), len(persons & kept), len(persons & kept_first),
        len(names), len(names & kept), len(names & kept_first),
        round(seconds, 2), round(megabytes, 1),
    )  # fmt: skip


def total(measured: Sequence[Measured]) -> Measured:
    """Sum up all decks; time and memory are those of the worst deck."""
    added = "keywords first useful harmless junk persons persons_kept persons_first names names_kept names_first"
    sums = {name: sum(getattr(deck, name) for deck in measured) for name in added.split()}
    return Measured(
        deck="all", unmarked=(), seconds=max(deck.seconds for deck in measured),
        megabytes=max(deck.megabytes for deck in measured), **sums,
    )  # fmt: skip


def row(deck: Measured) -> str:
    def share(count: int) -> str:
        return f"{100 * count / deck.first:.0f} %" if deck.first else "–"

    cells = (
        deck.deck, deck.keywords, share(deck.useful), share(deck.harmless), share(deck.junk),
        f"{deck.names_first} of {deck.names}", f"{deck.names_kept} of {deck.names}",
        f"{deck.persons_kept} of {deck.persons}",
        deck.seconds, f"{deck.megabytes:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
