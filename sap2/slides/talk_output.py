"""The output of `sap2 talk`: a folder with a talk's transcript as text, SubRip, JSON and an HTML page."""

import base64
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sap2.errors import InputError
from sap2.files import atomic_dir
from sap2.slides.page_pictures import MEDIA_TYPE, page_pictures
from sap2.slides.talk_input import TalkInput
from sap2.transcripts.talk import Talk
from sap2.transcripts.talk_formats import rendered
from sap2.transcripts.talk_page import GENERATOR, Slide, render_talk

__all__ = ["PAGE", "check_output", "default_output", "drawn_slides", "write_talk"]

PAGE = "talk.html"
KINDS: dict[str, Literal["text", "srt", "json"]] = {
    "transcript.txt": "text",
    "transcript.srt": "srt",
    "transcript.json": "json",
}
HEAD = 2000  # bytes at the beginning of a page that hold its generator tag


def default_output(recording: Path) -> Path:
    """Return the default output folder of a recording.

    >>> default_output(Path("talks/monday.mp4")).as_posix()
    'talks/monday.talk'
    """
    return recording.with_name(f"{recording.stem}.talk")


def check_output(folder: Path) -> None:
    """Check that a folder can be replaced: it is absent, empty, or was written by `write_talk`.

    Raises: InputError: it is a file, or holds other files.
    """
    if not folder.exists():
        return
    way_out = "name another folder with --out, or move it away"
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder to write; {way_out}")
    held = {path.name for path in folder.iterdir()}
    if not held:
        return
    if others := sorted(held - {PAGE, *KINDS}):
        raise InputError(f"{folder}: holds {', '.join(others[:3])}, which sap2 talk did not write; {way_out}")
    page = folder / PAGE
    if not page.is_file() or f'content="{GENERATOR}"'.encode() not in page.read_bytes()[:HEAD]:
        raise InputError(f"{folder}: holds no {PAGE} written by sap2 talk, so its files are not replaced; {way_out}")


def write_talk(
    folder: Path,
    talk: Talk,
    given: TalkInput,
    recording: Path,
    slides: Sequence[Path],
    notices: Sequence[str],
    model: str,
) -> list[str]:
    """Write the folder atomically, replacing an existing output folder: see `check_output`.

    Args:
        recording, slides: The files of `given`. The page links to the recording and names files without their folders.
        notices: Content that was dropped, and settings that were guessed.
        model: The model's name, for the page.
    Returns: Notices of slides that could not be rendered.
    """
    shown, undrawn = drawn_slides(given)
    pages = [f"slides: {given.timed_by}"] if given.texts else []
    page = render_talk(
        talk,
        recording.name,
        shown,
        _address(recording, folder),
        _named([*given.used, *pages, f"model: {model if ':' in model else Path(model).name}"], [recording, *slides]),
        _named([*notices, *undrawn], [recording, *slides]),
    )
    with atomic_dir(folder) as partial:
        for name, kind in KINDS.items():
            (partial / name).write_text(rendered(talk, recording.name, kind), encoding="utf-8")
        (partial / PAGE).write_text(page, encoding="utf-8")
    return undrawn


def drawn_slides(given: TalkInput) -> tuple[list[Slide], list[str]]:
    """Return the pages of a talk with their pictures as data URLs, and notices of pages without a picture."""
    pictures, notices = page_pictures(given.sources)
    return [Slide(text, _data_url(picture)) for text, picture in zip(given.texts, pictures, strict=True)], notices


def _data_url(picture: bytes | None) -> str | None:
    return None if picture is None else f"data:{MEDIA_TYPE};base64,{base64.b64encode(picture).decode()}"


def _address(recording: Path, folder: Path) -> str:
    """Return the recording's URL, relative to the page if both are on the same drive."""
    try:
        # Resolved paths: the page may be opened through another path than it was written to.
        relative = os.path.relpath(recording.resolve(), folder.resolve())
    except ValueError:
        return recording.resolve().as_uri()
    # "./": a first component with a colon would be read as a scheme.
    return quote(f"./{Path(relative).as_posix()}")


def _named(lines: Iterable[str], paths: Sequence[Path]) -> list[str]:
    """Replace the paths of files in lines by the files' names."""
    names = {str(path): path.name for path in paths}
    known = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
    return [known.sub(lambda match: names[match[0]], line) for line in lines]
