"""Recall@K of the prefilter on the embedded corpus's names: is what was said among the K that are kept?

    python benchmarks/prefilter/recall.py --utterances 200 --sizes 1000 10000 100000 --keep 50 100 200 500

Utterances of the test split are spoken, then transcribed by the embedded base without context (the first pass); each
one's spoken names are hidden among N others of the same split, many of which sound alike. Prints a Markdown table.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from sap2.data.names import draw_sound
from sap2.inference.prefilter import similarity
from sap2.manifest import audio_path, read_manifest, spoken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--utterances", type=int, default=200, help="of the test split")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="N: names of a list")
    parser.add_argument("--keep", type=int, nargs="+", default=[50, 100, 200, 500], help="K: names kept of it")
    parser.add_argument("--folder", type=Path, default=Path("data/bench-prefilter"), help="corpus and first pass")
    arguments = parser.parse_args()

    rows = [row for row in first_pass(arguments.folder, arguments.utterances) if row["spoken"]]
    pool = names(max(arguments.sizes))
    said = sum(len(row["spoken"]) for row in rows)
    right = sum(word in row["hypothesis"].split() for row in rows for word in row["spoken"])
    print(f"{len(rows)} utterances with {said} names, {right} of them right in the first pass\n")
    print("| N | " + " | ".join(f"recall@{keep}" for keep in arguments.keep) + " | ms an utterance |")
    print("|---" * (len(arguments.keep) + 2) + "|")
    for size in arguments.sizes:
        ranks, seconds = ranked(rows, pool[:size])
        recalls = [f"{np.mean(ranks < keep):.3f}" for keep in arguments.keep]
        print(f"| {size:,} | " + " | ".join(recalls) + f" | {1000 * seconds / len(rows):.0f} |", flush=True)


def ranked(rows: list[dict], others: list[str]) -> tuple[np.ndarray, float]:
    """The rank of every spoken name in its utterance's list, and the seconds that took, the list's keys included."""
    # One list for all, as a glossary is: what others say is a distractor like any other.
    words = list(dict.fromkeys([*(word for row in rows for word in row["spoken"]), *others]))
    place = {word: position for position, word in enumerate(words)}
    ranks: list[int] = []
    started = time.perf_counter()
    for row in rows:
        scores = similarity(row["hypothesis"], words)
        for word in row["spoken"]:
            mine = place[word]
            # As `shortlist` orders: of equals the first in the list stays.
            ranks.append(int((scores > scores[mine]).sum() + (scores[:mine] == scores[mine]).sum()))
    return np.array(ranks), time.perf_counter() - started


def names(count: int, seed: int = 0) -> list[str]:
    """Spellings of the test split's names, each once, as the corpus draws them."""
    rng, drawn = np.random.default_rng(seed), {}
    while len(drawn) < count:
        drawn[draw_sound("test", rng).spell(rng)] = None
    return list(drawn)


def first_pass(folder: Path, utterances: int) -> list[dict]:
    """Transcripts without context by the embedded base, with the names that were said; made once and kept."""
    kept = folder / f"first-pass-{utterances}.json"
    if not kept.is_file():
        from sap2.data.lectures import prepare_lectures
        from sap2.inference import Recogniser
        from sap2.params import PrepareSection
        from sap2.training.shapes import EMBEDDED

        section = PrepareSection(train_utterances=1, dev_utterances=1, test_utterances=utterances)
        prepare_lectures(section, folder / "corpus")
        manifest = folder / "corpus" / "test.jsonl"
        rows = read_manifest(manifest)
        texts = Recogniser.load(EMBEDDED).transcribe([audio_path(row, manifest) for row in rows], label="first pass")
        found = [
            {"text": row.text, "hypothesis": text, "spoken": spoken(row)} for row, text in zip(rows, texts, strict=True)
        ]
        kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
