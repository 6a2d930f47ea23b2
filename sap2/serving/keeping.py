"""Storage of served requests, if the operator enables it: for drift metrics and for training on corrections.

A folder with `requests.jsonl` (a line per answer), `audio/ID.flac`, and `corrections.jsonl` (correct transcripts).
"""

import json
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sap2.constants import SAMPLE_RATE
from sap2.data.audio import save_audio
from sap2.data.entries import plain_words
from sap2.errors import InputError
from sap2.files import read_jsonl
from sap2.manifest import Utterance, fault_of, keyword_fault, read_manifest, write_manifest
from sap2.serving.engine import Answer

__all__ = ["Keeper", "add_correction", "corrections", "requests"]

REQUESTS, CORRECTIONS, AUDIO = "requests.jsonl", "corrections.jsonl", "audio"


class Keeper:
    """Writes answers to a folder; thread-safe."""

    def __init__(self, folder: Path):
        self.folder, self._lock = folder, threading.Lock()
        try:
            (folder / AUDIO).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--requests {folder}: cannot be written ({error.strerror}); name another folder"
            ) from error

    def add(self, id: str, audio: np.ndarray, keywords: Sequence[str], answer: Answer) -> None:
        """Store an answer; its audio is written before its line."""
        path = Path(AUDIO) / f"{id}.flac"
        save_audio(self.folder / path, audio)
        transcript = answer.transcript
        row = {
            "id": id,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": answer.model,
            "audio": path.as_posix(),
            "duration": len(audio) / SAMPLE_RATE,
            "keywords": list(keywords),
            "text": transcript.text,
            "predicted": transcript.predicted,
            "found": transcript.found,
            "scores": transcript.scores,
        }
        with self._lock:
            _append(self.folder / REQUESTS, row)

    @staticmethod
    def new_id() -> str:
        return uuid.uuid4().hex


def requests(folder: Path) -> list[dict[str, Any]]:
    """Read all stored answers in order.

    Raises: InputError: there are no answers, or a line is malformed; the message names file, line and field.
    """
    path = folder / REQUESTS
    rows = [_checked(_StoredAnswer, row, f"{path}:{number}") for number, row in read_jsonl(path)]
    if not rows:
        raise InputError(f"{path}: holds no answers; they come from `sap2 serve --requests {folder}`")
    return rows


def corrections(folder: Path) -> dict[str, str]:
    """Read the corrected transcripts by answer id; the last correction of an answer counts."""
    path = folder / CORRECTIONS
    if not path.is_file():
        return {}
    rows = (_checked(_Correction, row, f"{path}:{number}") for number, row in read_jsonl(path))
    return {row["id"]: row["text"] for row in rows}


def add_correction(folder: Path, id: str, text: str, manifest: Path) -> Utterance:
    """Store the correct transcript of an answer, and add it to a manifest as a training utterance.

    Args:
        manifest: Manifest to which the utterance is added, or in which it is replaced; created if missing.
    Raises: InputError: there is no such answer, or the text holds no word.
    """
    kept = next((row for row in requests(folder) if row["id"] == id), None)
    if kept is None:
        raise InputError(f"{folder / REQUESTS}: holds no answer {id!r}; ids are in the answers' header x-sap2-id")
    plain = plain_words(text)
    if not plain:
        raise InputError(f"the correction {text!r} holds no word")
    audio = (folder / kept["audio"]).absolute()
    utterance = Utterance(id=id, audio=str(audio), duration=kept["duration"], text=plain, keywords=kept["keywords"])
    others = [other for other in read_manifest(manifest) if other.id != id] if manifest.exists() else []
    write_manifest(manifest, [*others, utterance])
    _append(folder / CORRECTIONS, {"id": id, "text": plain})
    return utterance


class _Correction(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str = Field(min_length=1)
    text: str


class _StoredAnswer(_Correction):
    at: str
    audio: str = Field(min_length=1)
    duration: float = Field(gt=0, allow_inf_nan=False)
    keywords: list[str]
    predicted: list[str]
    found: list[str]
    scores: dict[str, Annotated[float, Field(le=1)]]  # log-probabilities, which rounding may put slightly above 0

    @field_validator("at")
    @classmethod
    def _at_a_day(cls, at: str) -> str:
        date.fromisoformat(at[:10])
        return at

    @field_validator("keywords")
    @classmethod
    def _keywords_usable(cls, keywords: list[str]) -> list[str]:
        if fault := next(filter(None, map(keyword_fault, keywords)), None):
            raise ValueError(fault)
        return keywords


def _checked(kind: type[BaseModel], row: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        kind.model_validate(row)
    except ValidationError as error:
        raise InputError(
            f"{where} ({row.get('id', 'no id')}): {fault_of(error)}; correct or remove the line"
        ) from error
    return row


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
