"""Checkpoints of an interrupted training: which are complete, and which training they belong to."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sap2.errors import ModelError
from sap2.files import atomic_file, sha256

SEAL = "complete.json"
LOSS = "unlogged.json"
SETTINGS = "settings.json"
SHOWN = 3  # differing settings listed in a message
HASHED = 256 << 20  # bytes; larger files of a base are identified by name and size
WITHOUT_EFFECT = {
    "gradient_checkpointing",
    "save_minutes",
    "save_steps",
    "save_total_limit",
}  # settings that do not change what is trained


def fingerprint(base: str | Path, manifests: list[Path], settings: dict) -> str:
    """Return a training's name, which depends on its base, data and settings only."""
    parts = [json.dumps(settings, sort_keys=True), *(sha256(path) for path in manifests)]
    folder = Path(base)
    for file in sorted(folder.glob("*")) if folder.is_dir() else []:
        if file.is_file():
            size = file.stat().st_size
            parts.append(f"{file.name} {size if size > HASHED else sha256(file)}")
    return hashlib.sha256("\n".join([str(base) if not folder.is_dir() else "", *parts]).encode()).hexdigest()[:16]


def note(folder: Path, settings: dict) -> None:
    """Save a training's settings with its checkpoints, for messages about what differs."""
    with atomic_file(folder / SETTINGS) as partial:
        partial.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def foreign(folder: Path) -> list[str]:
    """Return messages about other trainings' checkpoints beside a new training: what differs, and what to do."""
    if listed(folder):
        return []
    mine = _settings(folder) or {}
    messages = []
    for other in sorted(path for path in folder.parent.iterdir() if path.is_dir() and path != folder and listed(path)):
        theirs = _settings(other)
        differ = [key for key in sorted(mine | (theirs or {})) if mine.get(key) != (theirs or {}).get(key)]
        what = ", ".join(f"{key} is {mine.get(key)}, was {(theirs or {}).get(key)}" for key in differ[:SHOWN])
        what += f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
        what = "its settings are unknown" if theirs is None else what or "another base or other data"
        messages.append(
            f"{other} has checkpoints of another training ({what}), which are not resumed; restore its settings to "
            "resume it, or delete the folder"
        )
    return messages


def _settings(folder: Path) -> dict[str, object] | None:
    """Return settings by dotted name; None if an earlier version did not save them."""
    try:
        return dict(_flat(json.loads((folder / SETTINGS).read_text(encoding="utf-8"))))
    except (OSError, ValueError, AttributeError):
        return None


def _flat(nested: dict[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    for key, value in nested.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def seal(checkpoint: Path, seconds: float) -> None:
    """Mark a checkpoint as complete, with the size of every file in it and the training time so far."""
    files = {str(file.relative_to(checkpoint)): file.stat().st_size for file in _files(checkpoint)}
    with atomic_file(checkpoint / SEAL) as partial:
        partial.write_text(json.dumps({"seconds": seconds, "files": files}, indent=1), encoding="utf-8")


def keep_loss(checkpoint: Path, loss: float, since: int) -> None:
    """Save in an unsealed checkpoint the summed loss of the steps after step `since`, the last one logged."""
    (checkpoint / LOSS).write_text(json.dumps({"loss": loss, "since": since}) + "\n", encoding="utf-8")


def kept_loss(checkpoint: Path) -> dict[str, float]:
    """Return the saved `loss` and `since`; empty for a checkpoint of an earlier version."""
    kept = checkpoint / LOSS
    return json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}


def latest(folder: Path) -> tuple[Path, float] | None:
    """Return the newest complete checkpoint and the seconds trained before it; report and skip broken checkpoints."""
    for checkpoint in reversed(listed(folder)):
        fault, seconds = _inspect(checkpoint)
        best = _best(checkpoint) if fault is None else checkpoint
        if best != checkpoint:
            fault = _inspect(best)[0]
            fault = fault and f"the best checkpoint before it, {best.name}, cannot be used: {fault}"
        if fault is None:
            return checkpoint, seconds
        print(f"{checkpoint}: {fault}; skipped", file=sys.stderr)
    return None


def prune(folder: Path, keep: int, best: int | None = None) -> None:
    """Delete all checkpoints except the `keep` newest complete ones and that of the step `best`.

    While there are fewer complete checkpoints, nothing is deleted.
    """
    complete = [checkpoint for checkpoint in listed(folder) if (checkpoint / SEAL).is_file()]
    if len(complete) < keep:
        return
    for checkpoint in listed(folder):
        if checkpoint not in complete[-keep:] and checkpoint.name != f"checkpoint-{best}":
            shutil.rmtree(checkpoint)


def clear(folder: Path, all_of_it: bool = False) -> None:
    """Delete a training's checkpoints; `all_of_it` deletes the folder too."""
    for checkpoint in listed(folder):
        shutil.rmtree(checkpoint)
    if all_of_it:
        shutil.rmtree(folder, ignore_errors=True)


def listed(folder: Path) -> list[Path]:
    """Return all checkpoints, oldest first."""
    paths = [path for path in Path(folder).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(paths, key=lambda path: int(path.name.split("-")[1]))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a training's folder; the lock ends with the process, however it ends.

    Raises: ModelError: another process trains there.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelError(f"{folder}: another process runs this training; wait for it or stop it") from error
        yield


def _inspect(checkpoint: Path) -> tuple[str | None, float]:
    try:
        sealed = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
        files, seconds = sealed["files"], float(sealed["seconds"])
    except FileNotFoundError:
        return "is incomplete", 0.0
    except (ValueError, KeyError, TypeError):
        return f"{SEAL} cannot be read", 0.0
    for name, size in files.items():
        got = (checkpoint / name).stat().st_size if (checkpoint / name).is_file() else None
        if got != size:
            return f"{name} is missing" if got is None else f"{name} is truncated ({got} of {size} bytes)", 0.0
    return None, seconds


def _best(checkpoint: Path) -> Path:
    """Return the checkpoint with the best score so far; itself if no scores were compared."""
    state = checkpoint / "trainer_state.json"
    step = json.loads(state.read_text(encoding="utf-8")).get("best_global_step") if state.is_file() else None
    return checkpoint.with_name(f"checkpoint-{step}") if step else checkpoint


def _files(checkpoint: Path) -> list[Path]:
    return sorted(file for file in checkpoint.rglob("*") if file.is_file() and file.name != SEAL)
