"""How often the estimate of which slide was shown is right, on talks whose pages share names.

python benchmarks/talk/slide_times.py --json benchmarks/talk/records/slide_times.json    # after `make repro`
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from sap2.data.audio import load_audio
from sap2.files import atomic_file
from sap2.inference import load_recogniser
from sap2.manifest import Utterance, audio_path, read_manifest, spoken
from sap2.slides.timing import align

# Of decks, whose pages hold the names said while they are shown; shared: and four others of the talk; agenda: the same
# between two pages of half of all names, in half of the talks with pages that are never shown; words: names and the
# other words of the page's first two utterances.
KINDS = ("names", "shared", "agenda", "words")


@dataclass(frozen=True)
class Case:
    """What a first pass heard of a talk, its pages, and the page of each utterance."""

    heard: list[str]
    pages: list[str]
    truth: list[int]


def cases(told: Sequence[tuple[Utterance, str]], kind: str, talks: int) -> Iterator[Case]:
    """A talk of each `talks` talks of the manifest, in pages of one to seven utterances, drawn by its number."""
    by_talk = [list(rows) for _, rows in groupby(told, key=lambda row: row[0].talk)]
    for first in range(0, len(by_talk) - talks + 1, talks):
        rng = random.Random(first)
        rows = [row for rows in by_talk[first : first + talks] for row in rows]
        shown: list[list[Utterance]] = []
        place = 0
        while place < len(rows):
            shown.append([one for one, _ in rows[place : place + rng.randint(1, 7)]])
            place += len(shown[-1])
        pages = [_page(group, kind, rng) for group in shown]
        truth = [page for page, group in enumerate(shown, start=1) for _ in group]
        if kind == "agenda":
            pool = list(dict.fromkeys(word for one, _ in rows for word in one.keywords))
            if rng.random() < 0.5:
                pages += [" ".join(rng.sample(pool, 5)) for _ in range(1 + len(pages) // 5)]
            agenda, summary = (" ".join(rng.sample(pool, len(pool) // 2)) for _ in range(2))
            pages, truth = [agenda, *pages, summary], [page + 1 for page in truth]
        yield Case([text for _, text in rows], pages, truth)


def _page(group: Sequence[Utterance], kind: str, rng: random.Random) -> str:
    words = list(dict.fromkeys(word for one in group for word in spoken(one)))
    if kind in ("shared", "agenda"):
        words += rng.sample([word for word in group[0].keywords if word not in words], 4)
    if kind == "words":
        words += [word for one in group[:2] for word in one.text.split() if word not in one.keywords]
    return " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=Path("data/lists/test.jsonl"))
    parser.add_argument("--model", type=Path, default=Path("models"))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    recogniser = load_recogniser(*(asked.model / part for part in ("base", "pruner", "recogniser")))
    utterances = list(read_manifest(asked.manifest))
    heard: list[str] = []
    for first in range(0, len(utterances), 8):
        group = utterances[first : first + 8]
        heard += recogniser.transcribe([load_audio(audio_path(one, asked.manifest)) for one in group])
    told = list(zip(utterances, heard, strict=True))
    record: dict = {"manifest": asked.manifest.stem, "utterances": len(told)}
    for kind in KINDS:
        off = np.array(
            [
                abs(one - other)
                for talks in (1, 3, 5)
                for case in cases(told, kind, talks)
                for one, other in zip(align(case.heard, case.pages), case.truth, strict=True)
            ]
        )
        record[kind] = {
            "right": _share(off == 0),
            "within_2": _share(off <= 2),
            "pages_off": round(float(off.mean()), 2),
        }
    print(json.dumps(record, indent=2))
    if asked.json:
        with atomic_file(asked.json) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _share(flags: np.ndarray) -> float:
    return round(float(flags.mean()), 3)


if __name__ == "__main__":
    main()
