"""What was served, kept where the operator asks for it: for drift figures, and to learn from corrections.

A folder with `requests.jsonl` (a line an answer), `audio/ID.flac`, and `corrections.jsonl` (what was really said).
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
    """Writes answers into a folder; several threads may."""

    def __init__(self, folder: Path):
        self.folder, self._lock = folder, threading.Lock()
        try:
            (folder / AUDIO).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--requests {folder}: cannot be written ({error.strerror}); name another folder"
            ) from error

    def add(self, id: str, audio: np.ndarray, keywords: Sequence[str], answer: Answer) -> None:
        """Keep one answer; its audio is there before its line is."""
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
    """All answers kept, in their order.

    Raises: InputError: there are none, or a line is none; the message names file, line and field.
    """
    path = folder / REQUESTS
    rows = [_checked(_Kept, row, f"{path}:{number}") for number, row in read_jsonl(path)]
    if not rows:
        raise InputError(f"{path}: holds no answers; they come from `sap2 serve --requests {folder}`")
    return rows


def corrections(folder: Path) -> dict[str, str]:
    """What was really said, by the answer's id; of several corrections the last."""
    path = folder / CORRECTIONS
    if not path.is_file():
        return {}
    rows = (_checked(_Corrected, row, f"{path}:{number}") for number, row in read_jsonl(path))
    return {row["id"]: row["text"] for row in rows}


def add_correction(folder: Path, id: str, text: str, manifest: Path) -> Utterance:
    """Note what was really said, and add it to a manifest as an utterance to train on.

    Args:
        manifest: Gains the utterance, or has its text replaced by it; made when it is not there.
    Raises: InputError: no such answer was kept, or no word is left of the text.
    """
    kept = next((row for row in requests(folder) if row["id"] == id), None)
    if kept is None:
        raise InputError(f"{folder / REQUESTS}: holds no answer {id!r}; ids are in the answers' header x-sap2-id")
    plain = plain_words(text)
    if not plain:
        raise InputError(f"the correction {text!r} holds no word")
    audio = (folder / kept["audio"]).absolute()
    utterance = Utterance(id=id, audio=str(audio), duration=kept["duration"], text=plain, keywords=kept["keywords"])
    others = [one for one in read_manifest(manifest) if one.id != id] if manifest.exists() else []
    write_manifest(manifest, [*others, utterance])
    _append(folder / CORRECTIONS, {"id": id, "text": plain})
    return utterance


class _Corrected(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str = Field(min_length=1)
    text: str


class _Kept(_Corrected):
    at: str
    audio: str = Field(min_length=1)
    duration: float = Field(gt=0, allow_inf_nan=False)
    keywords: list[str]
    predicted: list[str]
    found: list[str]
    scores: dict[str, Annotated[float, Field(le=1)]]  # log probabilities, as near to 0 as rounding lets them

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
