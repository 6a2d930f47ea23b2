"""Utterances a second of one core, and peak memory, of training's way from shards to batches.

    python benchmarks/data/shards.py --utterances 1000 10000 100000

Shards of 500 utterances hold the same 500 recordings, of --seconds seconds each; lists of 10 to 30 keywords are drawn
anew from a vocabulary of 50,000. One process reads them as a worker of a training does: shard, FLAC, log-mel features,
prompt, list and answer as tokens, batches of 16. Each size has a process of its own, whose memory is told.
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
from sap2.data.shards import pack

SHARD = 500
BATCH = 16


def write_shards(folder: Path, utterances: int, seconds: float) -> Path:
    """One shard's recordings are written and packed; the others are copies of it with rows of their own."""
    rng = np.random.default_rng(1)
    words = np.array(["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 7)) for _ in range(50_000)])
    durations = rng.uniform(0.5 * seconds, 1.5 * seconds, SHARD)
    for number, duration in enumerate(durations):
        noise = np.cumsum(rng.normal(0, 0.01, int(duration * 16_000)))
        save_audio(folder / "audio" / f"{number}.flac", np.sin(noise).astype(np.float32) * 0.3)
    row = {"audio": "audio/{}.flac", "text": "", "keywords": []}
    first = folder / "first.jsonl"
    first.write_text("".join(json.dumps(row | {"id": str(n), "audio": f"audio/{n}.flac"}) + "\n" for n in range(SHARD)))
    pack(first, SHARD)
    slices = [json.loads(line)["audio"].partition("#")[2] for line in first.read_text().splitlines()]
    original = folder / "audio" / "first-000000.tar"
    with (folder / "train.jsonl").open("w") as manifest:
        for number in range(utterances):
            shard, place = divmod(number, SHARD)
            name = f"audio/train-{shard:06d}.tar"
            if place == 0:
                (folder / name).write_bytes(original.read_bytes())
            drawn = words[rng.integers(len(words), size=28)].tolist()
            text, keywords = " ".join(drawn[:10]), drawn[8:]
            one = {"id": f"u{number}", "audio": f"{name}#{slices[place]}", "duration": float(durations[place])}
            manifest.write(json.dumps(one | {"text": text, "keywords": keywords}) + "\n")
    return folder / "train.jsonl"


def read(manifest: Path) -> dict[str, float]:
    """Run in a process of its own, whose memory is the reader's alone."""
    import torch

    from sap2.constants import EMBEDDED
    from sap2.data.shards import Shards
    from sap2.model import load_processor
    from sap2.params import TrainSection
    from sap2.training.augment import Augmenter
    from sap2.training.collator import Collator
    from sap2.training.lists import ListDrawer
    from sap2.training.streaming import ShardedBatches, StreamPlan

    torch.set_num_threads(1)
    section = TrainSection(list_sizes=(10, 30), batch_size=BATCH)
    started = time.perf_counter()
    shards = Shards(manifest)
    opened = time.perf_counter() - started
    plan = StreamPlan([one.durations for one in shards.shards], shards.utterances, BATCH, seed=1)
    augmenter = Augmenter(section, 30.0)
    collator = Collator(load_processor(EMBEDDED, window=2), manifest, augmenter=augmenter)
    drawer = ListDrawer("pruner", [], seed=1, list_sizes=section.list_sizes, pool=shards.keywords)
    batches = ShardedBatches(shards, plan, drawer, augmenter, collator, section.max_length)
    started, cpu = time.perf_counter(), time.process_time()
    count = sum(len(batches[position]["input_ids"]) for position in range(len(batches)))
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    return {
        "utterances": count,
        "hours": round(sum(map(sum, (one.durations for one in shards.shards))) / 3600, 2),
        "utterances_a_core_second": round(count / used, 1),
        "utterances_a_second": round(count / seconds, 1),
        "opening_seconds": round(opened, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=3.0, help="mean length of a recording")
    parser.add_argument("--manifest", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.manifest:
        print(json.dumps(read(arguments.manifest)))
        return
    for utterances in arguments.utterances:
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_shards(Path(folder), utterances, arguments.seconds)
            command = [sys.executable, __file__, "--manifest", str(manifest)]
            print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main()
