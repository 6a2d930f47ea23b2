"""Time `sap2 score` as a user has it: a new process each time, reading, intervals and printing included.

    python benchmarks/scoring/run.py corpora/is21_deep_bias

1. One file of 2,620 utterances, against the published script's algorithm (published.py), in turns, so that both meet
   the same load on the machine; processor seconds of the whole process are compared, and wall seconds shown.
2. 100,000 utterances, made of that file's with ids and speakers of their own: seconds and peak memory.
3. `sap2 compare` of two systems: 1,000 resamples of 2,620 utterances drawn one by one.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
REFERENCE = "ref/test-clean.biasing_100.tsv"
BASELINE, BEST = "hyp/test-clean.b1.rnnt_baseline.tsv", "hyp/test-clean.s5.s3+db-nnlm.biasing_100.tsv"
MANY = 100_000


def timed(*command: str) -> dict[str, float]:
    """Run a command: seconds on the wall, seconds of the processor, peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss / unit}


def scoring(*arguments: str) -> tuple[str, ...]:
    return sys.executable, "-m", "sap2", *arguments


def many(folder: Path, data: Path) -> tuple[Path, Path]:
    """The test set over and over, each time with speakers of its own, until there are 100,000 utterances."""
    references = (data / REFERENCE).read_text(encoding="utf-8").splitlines()
    hypotheses = dict(line.split("\t") for line in (data / BASELINE).read_text(encoding="utf-8").splitlines())
    ref, hyp = folder / "ref.tsv", folder / "hyp.tsv"
    with ref.open("w", encoding="utf-8") as to_ref, hyp.open("w", encoding="utf-8") as to_hyp:
        for number in range(MANY):
            line = references[number % len(references)]
            id = line.partition("\t")[0]
            new = f"{number // len(references)}{id}"
            to_ref.write(f"{new}{line.removeprefix(id)}\n")
            to_hyp.write(f"{new}\t{hypotheses[id]}\n")
    return ref, hyp


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, help="folder of is21_deep_bias, with ref and hyp")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    reference, baseline, best = (str(arguments.data / name) for name in (REFERENCE, BASELINE, BEST))
    if not Path(reference).is_file():
        raise SystemExit(f"{reference}: no such file; give the folder of is21_deep_bias")
    os.environ["OMP_NUM_THREADS"] = "1"

    rounds = [
        (
            timed(sys.executable, str(HERE / "published.py"), "--refs", reference, "--hyps", baseline),
            timed(*scoring("score", baseline, "--ref", reference)),
        )
        for _ in range(arguments.rounds)
    ]
    figures: dict[str, object] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "published_cpu_s": round(median(one["cpu"] for one, _ in rounds), 3),
        "published_wall_s": round(median(one["wall"] for one, _ in rounds), 3),
        "sap2_cpu_s": round(median(one["cpu"] for _, one in rounds), 3),
        "sap2_wall_s": round(median(one["wall"] for _, one in rounds), 3),
        "ratio_cpu": round(median(one["cpu"] / ours["cpu"] for one, ours in rounds), 1),
        "ratio_wall": round(median(one["wall"] / ours["wall"] for one, ours in rounds), 1),
    }
    compared = timed(*scoring("compare", baseline, best, "--ref", reference, "--unit", "utterance"))
    figures |= {"compare_wall_s": round(compared["wall"], 2), "compare_cpu_s": round(compared["cpu"], 2)}
    with tempfile.TemporaryDirectory() as folder:
        ref, hyp = many(Path(folder), arguments.data)
        for unit in ("auto", "utterance"):
            one = timed(*scoring("score", str(hyp), "--ref", str(ref), "--unit", unit))
            figures |= {f"many_{unit}_{name}": round(value, 1) for name, value in one.items()}
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
