"""What the model benchmarks share: a corpus, a timer, and their records."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from sap2.constants import EMBEDDED
from sap2.data.audio import load_audio
from sap2.data.names import draw_sound
from sap2.files import sha256
from sap2.inference import Recogniser, load_recogniser
from sap2.manifest import Utterance, audio_path, read_manifest
from sap2.params import load_params
from sap2.settings import RecogniserSettings
from sap2.tracking.provenance import code_state


def parser(description: str) -> argparse.ArgumentParser:
    """The options every script has."""
    made = argparse.ArgumentParser(description=description.split("\n")[0])
    made.add_argument("--data", type=Path, default=Path("data/lists"), help='what "sap2 lists" wrote')
    made.add_argument("--join", type=float, metavar="SECONDS", help="join recordings until they are so long")
    made.add_argument("--json", type=Path, help="write the figures there, too")
    return made


def utterances(arguments, count: int, split: str = "train") -> tuple[list[Utterance], list[np.ndarray]]:
    """The split's first utterances and their waveforms, joined to longer ones where `--join` asks for it."""
    manifest = arguments.data / f"{split}.jsonl"
    rows, waves = [], []
    for row in read_manifest(manifest):
        wave = load_audio(audio_path(row, manifest))
        if arguments.join and rows and len(waves[-1]) / 16_000 < arguments.join:
            waves[-1] = np.concatenate((waves[-1], wave))
            keywords = list(dict.fromkeys(rows[-1].keywords + row.keywords))
            rows[-1] = rows[-1].model_copy(update={"text": f"{rows[-1].text} {row.text}", "keywords": keywords})
            continue
        if len(rows) == count:
            break
        rows.append(row)
        waves.append(wave)
    if len(rows) < count:
        raise SystemExit(f"{manifest}: {len(rows)} utterances, expected at least {count}; take fewer, or prepare more")
    return rows, waves


def names(count: int, seed: int = 0) -> list[str]:
    """Names of the test split, each once."""
    rng, drawn = np.random.default_rng(seed), {}
    while len(drawn) < count:
        drawn[draw_sound("test", rng).spell(rng)] = None
    return list(drawn)


def default_recogniser(models: Path | None, device: torch.device) -> Recogniser:
    """The recogniser as params.yaml sets it up, of the folders a training left or of the embedded base alone."""
    folders = [EMBEDDED] if models is None else [models / name for name in ("base", "pruner", "recogniser")]
    adapters = dict(zip(("pruner", "recogniser"), folders[1:], strict=False))
    settings = RecogniserSettings.from_params(load_params())
    return load_recogniser(folders[0], **adapters, settings=settings, device=device.type)


def alternately(sides: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each side, taken in turns so that a busy machine slows both alike; one unmeasured turn first.

    On a CPU they are seconds of the processor, all threads together: what other programs do then counts little.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            synchronise(device)
            started = clock()
            side()
            synchronise(device)
            if turn:
                seconds[name].append(clock() - started)
    return seconds


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def times(seconds: dict[str, list[float]], side: str) -> float:
    """How many times the first side's seconds a side takes: the median of the turns' ratios."""
    first = next(iter(seconds.values()))
    return statistics.median(mine / its for mine, its in zip(seconds[side], first, strict=True))


def summary(seconds: dict[str, list[float]]) -> str:
    """A Markdown table: median and range of each side, and how many times the first side's it is."""
    lines = ["| side | median s | fastest | slowest | × |", "|---|---|---|---|---|"]
    for name, taken in seconds.items():
        median = statistics.median(taken)
        lines.append(f"| {name} | {median:.3f} | {min(taken):.3f} | {max(taken):.3f} | {times(seconds, name):.2f} |")
    return "\n".join(lines)


def report(arguments, device: torch.device, seconds: dict[str, list[float]], **figures) -> None:
    """Print what was measured, and write it to `--json`."""
    print(machine(device))
    print(summary(seconds))
    for name, value in figures.items():
        print(f"{name.replace('_', ' ')}: {value}")
    record(arguments, device, seconds={name: [round(turn, 4) for turn in taken] for name, taken in seconds.items()},
           times={name: round(times(seconds, name), 3) for name in seconds}, **figures)  # fmt: skip


def record(arguments, device: torch.device, **figures) -> None:
    """Write figures to `--json`, with the command, the code and weights they are of, and what they were taken on."""
    if arguments.json is None:
        return
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "command": " ".join(["python", *sys.argv]),
        **code_state(),
        "date": datetime.now(UTC).date().isoformat(),
        "base": base_weights(arguments),
        "machine": machine(device),
        **figures,
    }
    arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def base_weights(arguments) -> dict[str, str]:
    """Hex SHA-256 of each file of the base's weights, wherever the script's options have it from."""
    models = getattr(arguments, "models", None)
    folder = models / "base" if models is not None else getattr(arguments, "base", EMBEDDED)
    return {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}


def machine(device: torch.device) -> str:
    """What the figures were taken on."""
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else f"{os.cpu_count()} cores {platform.machine()}"
    kind = "seconds" if cuda else "processor seconds"
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {kind}"


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
