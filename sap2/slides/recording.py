"""The chapter marks of a talk's video."""

from pathlib import Path

from sap2.constants import Seconds
from sap2.data import containers

__all__ = ["read_chapters"]


def read_chapters(path: Path) -> list[tuple[Seconds, str]] | None:
    """Read start and title of a video's chapter marks, in order; None = the file is not a container.

    Raises: InputError: it cannot be read.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        format = containers.container_format(file)
        return None if format is None else containers.read_chapters(file, path, format)
