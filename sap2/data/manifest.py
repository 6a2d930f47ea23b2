"""Reader of this project's manifests, one file per part, prepared elsewhere or by another program.

Audio paths are relative to the manifest's folder and must lie within `root`.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sap2.data.entries import Entry, Read, confined
from sap2.data.quarantine import Rejected
from sap2.data.swift import json_rows, part_files
from sap2.manifest import Utterance, fault_of
from sap2.params import CorpusSource, PrepareSection

__all__ = ["read"]


def read(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """Read the entries of all parts; a part is a file under `prepare.manifest.root`.

    Raises: InputError: a file is missing.
    """
    settings: CorpusSource = section.settings
    return _entries(Path(settings.root), part_files(settings, "manifest")), {"title": "Manifests"}


def _entries(root: Path, files: list[tuple[str, Path]]) -> Read:
    for split, file in files:
        for where, row in json_rows(file):
            yield row if isinstance(row, Rejected) else _entry(row, where, split, root, file.parent)


def _entry(row: dict[str, Any], where: str, split: str, root: Path, folder: Path) -> Entry | Rejected:
    id = str(row.get("id") or "")
    try:
        utterance = Utterance.model_validate(row)
        audio = confined(root, (folder / utterance.audio).absolute())
    except ValidationError as error:
        return Rejected(id, where, f"not a manifest row: {fault_of(error)}")
    except ValueError as fault:
        return Rejected(id, where, str(fault))
    return Entry(
        utterance.id,
        where,
        audio,
        utterance.text,
        tuple(utterance.keywords),
        split,
        utterance.speaker,
        utterance.talk,
        duration=utterance.duration,
    )
