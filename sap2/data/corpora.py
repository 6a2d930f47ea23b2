"""Dispatch of `prepare` to the reader of the chosen source."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from sap2.data.entries import Read
from sap2.data.ingest import ingest, ingest_part, join_parts
from sap2.errors import InputError
from sap2.params import PrepareSection

__all__ = ["join_corpus", "prepare_corpus", "prepare_part", "read_corpus"]


def prepare_corpus(section: PrepareSection, output: Path | str, cache: Path | str) -> dict[str, Any]:
    """Read the chosen source into `output`; see `sap2.data.ingest.ingest` for the files written and the errors."""
    entries, facts = read_corpus(section)
    return ingest(entries, section, output, cache, section.settings.root, facts)


def prepare_part(
    section: PrepareSection, part: int, parts: int, output: Path | str, cache: Path | str
) -> dict[str, int]:
    """Do part `part` of `parts` of the work of `prepare_corpus`; see `sap2.data.ingest.ingest_part`."""
    if not 0 <= part < parts:
        known = f"0/{parts} to {parts - 1}/{parts}" if parts else "at least one part, such as 0/8"
        raise InputError(f"part {part}/{parts}: expected {known}")
    entries, _ = read_corpus(section)
    return ingest_part(entries, section, output, cache, part, parts)


def join_corpus(
    section: PrepareSection, folders: Sequence[Path], output: Path | str, cache: Path | str
) -> dict[str, Any]:
    """Merge all parts; the result equals that of `prepare_corpus`."""
    _, facts = read_corpus(section)
    return join_parts(folders, section, output, cache, section.settings.root, facts)


def read_corpus(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """Call `read(section)` of the source's module; return its entries and facts for the card."""
    if section.source == "lectures":
        raise InputError("the embedded lectures cannot be prepared in parts; prepare.source must name another corpus")
    return import_module(f"sap2.data.{section.source}").read(section)
