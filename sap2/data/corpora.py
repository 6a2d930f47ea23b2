"""Which reader a source has; everything else of `prepare` is the same for all but the embedded lectures."""

from importlib import import_module
from pathlib import Path
from typing import Any

from sap2.data.ingest import ingest
from sap2.params import PrepareSection

__all__ = ["prepare_corpus"]


def prepare_corpus(section: PrepareSection, output: Path | str, cache: Path | str) -> dict[str, Any]:
    """Read the chosen source into `output`; see `sap2.data.ingest.ingest` for what is written and raised.

    A reader is a module with `read(section)`: it returns the entries, and facts for the card.
    """
    reader = import_module(f"sap2.data.{section.source}")
    entries, facts = reader.read(section)
    return ingest(entries, section, output, cache, section.settings.root, facts)
