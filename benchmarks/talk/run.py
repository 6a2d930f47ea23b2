"""A long talk with its deck through `sap2 transcribe --slides`: time, memory, and a kill half-way.

python benchmarks/talk/run.py --minutes 30 --pages 60 --json benchmarks/talk/records/talk.json    # after `make repro`
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sap2.data.audio import SAMPLE_RATE, load_audio, save_audio
from sap2.files import atomic_file
from sap2.manifest import Utterance, audio_path, read_manifest, spoken
from sap2.transcripts.transcript import keywords_in

PAUSE = 0.5  # seconds between two utterances


def build(folder: Path, manifest: Path, minutes: float, pages: int) -> list[str]:
    """Write talk.wav, keywords.tsv (a page for each equal part of the talk) and times.tsv; return the names said."""
    told: list[Utterance] = []
    length, said = 0.0, []
    waves = []
    for one in read_manifest(manifest):
        if length >= minutes * 60:
            break
        waves += [load_audio(audio_path(one, manifest)), np.zeros(int(PAUSE * SAMPLE_RATE), np.float32)]
        length += one.duration + PAUSE
        told.append(one)
        said += spoken(one)
    if length < minutes * 60:
        raise SystemExit(f"{manifest}: holds {length / 60:.1f} minutes, expected {minutes:g}")
    save_audio(folder / "talk.wav", np.concatenate(waves))
    rows, times, start = ["page\tkeyword\n"], [], 0.0
    for number, one in enumerate(told):
        page = number * pages // len(told) + 1
        if number == 0 or page != (number - 1) * pages // len(told) + 1:
            times.append(f"{start:.2f}\t{page}\n")
        rows += [f"{page}\t{word}\n" for word in spoken(one) or one.keywords[:1]]
        start += one.duration + PAUSE
    (folder / "keywords.tsv").write_text("".join(rows), encoding="utf-8")
    (folder / "times.tsv").write_text("".join(times), encoding="utf-8")
    return said


def measured(folder: Path, model: str, *more: str, kill_after: int | None = None) -> dict:
    """Run the command in `folder`; peak memory in MB is the process's own, as the kernel counts it."""
    command = [sys.executable, "-m", "sap2", "transcribe", "talk.wav", "--slides", "keywords.tsv", "--slide-times"]
    command += ["times.tsv", "--slide-context", "0", "--model", model, "--format", "json", "--explain", *more]
    journal = folder / "journal"
    started = time.perf_counter()
    with (folder / "out.json").open("wb") as out, (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, cwd=folder, stdout=out, stderr=log)
        while kill_after is not None and _lines(journal) < kill_after and running.poll() is None:
            time.sleep(0.1)
        if kill_after is not None:
            running.send_signal(signal.SIGKILL)
        _, status, usage = os.wait4(running.pid, 0)
    if kill_after is None and status != 0:
        raise SystemExit((folder / "log").read_text()[-2000:])
    return {"seconds": round(time.perf_counter() - started, 1), "peak_mb": usage.ru_maxrss >> 10}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=Path("data/lists/train.jsonl"))
    parser.add_argument("--model", default="models")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    model = str(Path(asked.model).resolve())
    record: dict = {"minutes": asked.minutes, "pages": asked.pages, "manifest": asked.manifest.stem}
    for name, minutes in (("short", 1.0), ("long", asked.minutes)):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            said = build(folder, asked.manifest, minutes, max(1, round(asked.pages * minutes / asked.minutes)))
            record[name] = measured(folder, model, "--max-segment", "3", "--journal", "journal")
            whole = json.loads((folder / "out.json").read_text(encoding="utf-8"))
            record[name] |= {"audio": round(whole["duration"], 1), "segments": len(whole["segments"])}
            without = " ".join(one["without_context"] for one in whole["segments"])
            for key, text in (("recall", whole["text"]), ("recall_without", without)):
                names = list(dict.fromkeys(said))
                record[name][key] = round(len(keywords_in(text, names)) / len(names), 3)
            record[name]["real_time_factor"] = round(record[name]["seconds"] / whole["duration"], 3)
            if name == "long":
                record["killed"] = _killed(folder, model, whole)
    print(json.dumps(record, indent=2))
    if asked.json:
        with atomic_file(asked.json) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _killed(folder: Path, model: str, whole: dict) -> dict:
    """The same again, killed half-way and resumed: what was done before the kill, and that the outcome is the same."""
    (folder / "journal").unlink()
    half = -(-len(whole["segments"]) // 8)  # of two passes, each a line for eight segments
    options = ("--max-segment", "3", "--journal", "journal")
    measured(folder, model, *options, kill_after=half)
    kept = _lines(folder / "journal") - 1
    again = measured(folder, model, *options)
    same = json.loads((folder / "out.json").read_text(encoding="utf-8"))["text"] == whole["text"]
    return {
        "groups_kept": kept,
        "groups_in_all": _lines(folder / "journal") - 1,
        "seconds": again["seconds"],
        "same": same,
    }


if __name__ == "__main__":
    main()
