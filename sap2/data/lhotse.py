"""Reader of lhotse cut manifests (JSONL or JSONL.gz), one file per part, read cut by cut with lhotse.

A cut's recording must be a file below `root`. Its text is that of its supervisions; its list is the custom field
`keywords` (a list of strings) of the cut or supervision, if present.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sap2.data.entries import Entry, Read, confined
from sap2.data.quarantine import Rejected
from sap2.data.swift import part_files
from sap2.errors import InputError
from sap2.params import CorpusSource, PrepareSection

__all__ = ["read"]


def read(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """Read the entries of all parts; a part is a file under `prepare.lhotse.root`.

    Raises: InputError: a file is missing, or lhotse is not installed.
    """
    try:
        import lhotse
    except ImportError as error:
        raise InputError("prepare.source lhotse needs lhotse: pip install 'sap2-asr[lhotse]'") from error
    settings: CorpusSource = section.settings
    files = part_files(settings, "lhotse")
    return _entries(Path(settings.root), files), {"title": "lhotse cuts", "lhotse": lhotse.__version__}


def _entries(root: Path, files: list[tuple[str, Path]]) -> Read:
    for split, file in files:
        for number, cut in enumerate(_cuts(file), start=1):
            where = f"{file}:{number}"
            try:
                yield _entry(cut, where, split, root)
            except ValueError as fault:
                yield Rejected(str(cut.id), where, str(fault))


def _cuts(file: Path) -> Iterator[Any]:
    from lhotse import CutSet

    try:
        yield from CutSet.from_jsonl_lazy(file)
    except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
        raise InputError(f"{file}: not a lhotse cut manifest ({type(error).__name__}: {error})") from error


def _entry(cut: Any, where: str, split: str, root: Path) -> Entry:
    recording: Any = getattr(cut, "recording", None)
    sources: Sequence[Any] = getattr(recording, "sources", ())
    if len(sources) != 1 or sources[0].type != "file":
        raise ValueError("no audio file: the cut's recording is not a single file")
    supervisions = sorted(cut.supervisions, key=lambda supervision: supervision.start)
    fields = (item for supervision in supervisions for item in (supervision.custom or {}).items())
    custom = (cut.custom or {}) | dict(fields)
    keywords = custom.get("keywords") or ()
    if isinstance(keywords, str) or not all(isinstance(word, str) for word in keywords):
        raise ValueError(f"unusable keyword: expected a list of strings, got {keywords!r}")
    return Entry(
        id=str(cut.id),
        location=where,
        audio=confined(root, sources[0].source),
        text=" ".join(" ".join((supervision.text or "").split()) for supervision in supervisions).strip().lower(),
        keywords=tuple(word.lower() for word in keywords),
        split=split,
        speaker=next((supervision.speaker for supervision in supervisions if supervision.speaker), None),
        talk=str(recording.id),
        start=cut.start,
        end=cut.end,
        duration=cut.duration,
    )
