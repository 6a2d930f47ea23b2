"""Rows a second and peak memory of reading ms-swift messages into manifests.

    python benchmarks/data/swift_rows.py --rows 1000000

The rows have the public metadata's form (a transcript, a list of 20 keywords) and name a thousand recordings of one
second in turn; recordings are kept in place, so that what is measured is the rows' way from file to manifest. With
--no-duration rows have no length, as the public ones, and every recording's header is read.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sap2.data.audio import save_audio

RECORDINGS = 1000


def write_rows(folder: Path, rows: int, duration: bool) -> None:
    rng = np.random.default_rng(1)
    words = np.array(["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 7)) for _ in range(50_000)])
    noise = rng.normal(0, 0.1, 16_000)
    for number in range(RECORDINGS):
        save_audio(folder / "wav" / f"{number}.flac", noise)
    parts = {"train": rows - 2, "dev": 1, "test": 1}
    number = 0
    for split, count in parts.items():
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for _ in range(count):
                drawn = words[rng.integers(len(words), size=24)]
                audio = f"/corpus/{number % RECORDINGS}.flac"
                prompt = f"Transcribe speech to text.<|startofcontext|>{', '.join(drawn[4:])}<|endofcontext|>"
                row = {
                    "id": f"u{number}",
                    "messages": [
                        {"role": "user", "content": f"<audio>{audio}</audio>{prompt}"},
                        {"role": "assistant", "content": " ".join(drawn[:4])},
                    ],
                    "audios": audio,
                }
                file.write(json.dumps(row | ({"duration": 1.0} if duration else {})) + "\n")
                number += 1


def prepare(folder: Path) -> dict:
    """Run in a process of its own, whose memory is the reader's alone."""
    from sap2.data.corpora import prepare_corpus
    from sap2.params import PrepareSection

    parts = {split: [f"{split}.jsonl"] for split in ("train", "dev", "test")}
    settings = {"root": str(folder), "audio_prefix": {"/corpus/": "wav/"}} | parts
    section = PrepareSection(source="swift", swift=settings, audio="keep")
    started = time.perf_counter()
    card = prepare_corpus(section, folder / "prepared", folder / "cache")
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": card["read"],
        "accepted": card["accepted"],
        "seconds": round(seconds, 1),
        "rows_a_second": round(card["read"] / seconds),
        "peak_mb": round(peak),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--no-duration", action="store_true")
    parser.add_argument("--prepared-in", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepared_in:
        print(json.dumps(prepare(arguments.prepared_in)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), arguments.rows, not arguments.no_duration)
        command = [sys.executable, __file__, "--prepared-in", folder]
        print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="")


if __name__ == "__main__":
    main()
