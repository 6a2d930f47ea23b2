"""Stage 1's scores of whole splits: part by part, a process a GPU, each part kept until all of them are there.

    manifest --parts--> processes --part-00017.json, …--> each utterance's scores, in the manifest's order

An interrupted run goes on with the parts that are missing. No process holds more than a part of a split.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import sap2
import sap2.errors
from sap2.errors import ModelError, SapError
from sap2.files import atomic_file, json_file, sha256
from sap2.inference.loading import best_device, load_pruner
from sap2.inference.pruner import Pruner
from sap2.manifest import Utterance, audio_path, stream_manifest
from sap2.model.pairing import base_digest
from sap2.progress import track
from sap2.settings import DEFAULT_RUNTIME, SPEED_KEYS, PrunerSettings, RuntimeSettings

__all__ = ["BATCHES_AHEAD", "Scoring", "SplitScores", "score_splits"]

BATCHES_AHEAD = 4  # batches whose speech is encoded and held in memory at once
PART_BATCHES = 16  # of these in a part: what an interruption loses at most, per process
POLL_SECONDS = 0.5
FORMAT = 1  # of the parts; another one makes all of them anew

Scores = dict[str, float]


@dataclass(frozen=True)
class Scoring:
    """What scores are of, apart from the utterances."""

    settings: PrunerSettings
    base: Path
    pruner: Path
    runtime: RuntimeSettings = DEFAULT_RUNTIME

    @property
    def batch(self) -> int:
        """Utterances scored together."""
        return self.settings.batch_size * BATCHES_AHEAD

    def digest(self) -> str:
        """Name of what decides the scores: weights and settings; a threshold is applied to them later."""
        settings = self.settings.model_dump(include=set(PrunerSettings.model_fields) - SPEED_KEYS - {"threshold"})
        weights = [sha256(file) for file in sorted(Path(self.pruner).glob("*.safetensors"))]
        runtime = self.runtime.model_dump(exclude=set(SPEED_KEYS))
        parts = [FORMAT, sap2.__version__, settings, runtime, base_digest(self.base), weights, self.batch]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def load(self, device: str | None) -> Pruner:
        return load_pruner(self.base, self.pruner, self.settings, runtime=self.runtime, device=device)


class SplitScores:
    """The scores of a manifest's utterances, in files of a part each.

    Args:
        folder: Where they are kept; it holds a folder for each manifest and scoring.
    Raises: InputError: a row of the manifest cannot be used.
    """

    def __init__(self, folder: Path, manifest: Path, scoring: Scoring):
        self.manifest, self.size = Path(manifest), scoring.batch * PART_BATCHES
        self.count = sum(1 for _ in stream_manifest(self.manifest))
        key = hashlib.sha256(f"{sha256(self.manifest)} {scoring.digest()}".encode()).hexdigest()[:16]
        self.folder = folder / f"{self.manifest.stem}-{key}"

    @property
    def parts(self) -> list[Path]:
        return [self.folder / f"part-{number:05d}.json" for number in range(-(-self.count // self.size))]

    def missing(self) -> list[int]:
        """Numbers of the parts that nobody has scored yet."""
        return [number for number, part in enumerate(self.parts) if not part.is_file()]

    def batches(self, number: int, size: int) -> int:
        """Batches of a part."""
        return -(-min(self.size, self.count - number * self.size) // size)

    def fill(self, number: int, model: Pruner, size: int, tick: Callable[[], object]) -> None:
        """Score one part, in batches of `size`; `tick` is called before each of them."""
        started, scored = time.monotonic(), []
        utterances = list(islice(stream_manifest(self.manifest, number * self.size), self.size))
        for start in range(0, len(utterances), size):
            tick()
            batch = utterances[start : start + size]
            audio = [audio_path(utterance, self.manifest) for utterance in batch]
            scores = model.score_keywords(audio, [utterance.keywords for utterance in batch])
            scored += [[utterance.id, kept] for utterance, kept in zip(batch, scores, strict=True)]
        with atomic_file(self.parts[number]) as partial:
            content = {"seconds": time.monotonic() - started, "scores": scored}
            partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    def read(self, utterances: Iterator[Utterance]) -> Iterator[tuple[Utterance, Scores]]:
        """Each utterance of the manifest with its scores.

        Raises: ModelError: the parts are not of these utterances.
        """
        known = (
            entry for part in self.parts for entry in json_file(part, "delete its folder and prune again")["scores"]
        )
        for utterance, (name, scores) in zip(utterances, known, strict=True):
            if utterance.id != name:
                raise ModelError(f"{self.folder}: holds the scores of {name} instead of {utterance.id}; delete it")
            yield utterance, scores

    def seconds(self) -> float:
        """What scoring took, all processes together."""
        return float(sum(json_file(part, "delete its folder and prune again")["seconds"] for part in self.parts))


def score_splits(scoring: Scoring, splits: Sequence[SplitScores], processes: int) -> None:
    """Score whatever parts are missing, shared out to processes with a device each.

    Raises: SapError: as the scoring of any part; what others have scored is kept.
    """
    if not (missing := _missing(splits)):
        return
    if processes == 1 or len(missing) == 1:
        _work(scoring, splits, missing, best_device(), labelled=True)
        return
    with tempfile.TemporaryDirectory(prefix="sap2-prune-") as folder:
        job = Path(folder) / "job.json"
        content = {
            "settings": scoring.settings.model_dump(mode="json", include=set(PrunerSettings.model_fields)),
            "base": str(scoring.base), "pruner": str(scoring.pruner), "runtime": scoring.runtime.model_dump(),
            "processes": processes,
            "splits": [[str(split.folder.parent), str(split.manifest)] for split in splits], "missing": missing,
        }  # fmt: skip
        job.write_text(json.dumps(content), encoding="utf-8")
        command = [sys.executable, "-m", "sap2.inference.parts", str(job)]
        running = [subprocess.Popen([*command, str(rank)], env=_environment(processes)) for rank in range(processes)]
        try:
            while any(process.poll() is None for process in running) and not any(process.poll() for process in running):
                time.sleep(POLL_SECONDS)
        finally:
            for process in running:
                process.terminate()
            codes = [process.wait() for process in running]
        for failure in sorted(Path(folder).glob("failure-*.json")):
            error = json_file(failure, "")
            raise getattr(sap2.errors, error["type"])(error["message"])
        if any(codes):
            raise ModelError(
                f"pruning in {processes} processes ended early (exit codes {codes}); see the messages above, then run "
                f"the stage again: it goes on with what is missing in {splits[0].folder.parent}"
            )


def _missing(splits: Sequence[SplitScores]) -> list[tuple[int, int]]:
    """Split and part of what is not scored yet."""
    return [(place, number) for place, split in enumerate(splits) for number in split.missing()]


def _work(
    scoring: Scoring,
    splits: Sequence[SplitScores],
    missing: Sequence[tuple[int, int]],
    device: str | None,
    labelled: bool,
) -> None:
    model, size = scoring.load(device), scoring.batch
    total = sum(splits[place].batches(number, size) for place, number in missing)
    label = f"prune {', '.join(dict.fromkeys(splits[place].manifest.stem for place, _ in missing))}"
    bar = track(range(total), total, f"{label} ({size} utterances each)") if labelled else iter(())
    for place, number in missing:
        splits[place].fill(number, model, size, lambda: next(bar, None))
    next(bar, None)  # which ends it


def _environment(processes: int) -> dict[str, str]:
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    root = str(Path(sap2.__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    return environment


def _end_with(parent: int) -> None:
    """End this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def main(job: Path, rank: int) -> int:
    """Score every `processes`-th of the missing parts, on the device of this rank."""
    import torch

    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    content = json_file(job, "")
    settings, runtime = PrunerSettings(**content["settings"]), RuntimeSettings(**content["runtime"])
    scoring = Scoring(settings, Path(content["base"]), Path(content["pruner"]), runtime)
    splits = [SplitScores(Path(folder), Path(manifest), scoring) for folder, manifest in content["splits"]]
    device = f"cuda:{rank % torch.cuda.device_count()}" if best_device() else None
    try:
        missing = content["missing"][rank :: content["processes"]]
        if missing:
            _work(scoring, splits, missing, device, labelled=rank == 0)
    except SapError as error:
        with atomic_file(job.with_name(f"failure-{rank}.json")) as partial:
            partial.write_text(json.dumps({"type": type(error).__name__, "message": str(error)}), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
