"""Reader of SlideSpeech (Wang et al., 2024), talks with slides: audio from OpenSLR 144, the rest from its site.

    root/                            a folder per part, from related_files.tar.gz: segments, text, keywords
      test/segments                  YTB+XbpJ3qMXSvM_1 YTB+XbpJ3qMXSvM 12.30 15.85
      test/text                      YTB+XbpJ3qMXSvM_1 THE NEXT SLIDE
      test/keywords                  YTB+XbpJ3qMXSvM_1 ZORVAN$MEYER
      test/ocr                       YTB+XbpJ3qMXSvM 10.00 31.50 words of the slide that is shown from 10 s to 31.5 s
      …/YTB+XbpJ3qMXSvM.wav          anywhere below root, or where the part's wav.scp says

With `lists: keywords` an utterance's keywords are the published ones. With `lists: slides` they are the slides' own
words: those of the `prepare.slides` slides nearest in time, nearest first, without common words. The `ocr` file's
format is this project's; the corpus's raw OCR results must be converted to it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sap2.data.biasing import read_words
from sap2.data.entries import Entry, Read, part_folder
from sap2.data.kaldi import Recordings, data_folder, scp_recordings
from sap2.data.slides import Slide, read_slides, shown_between
from sap2.errors import InputError
from sap2.params import PrepareSection, SlideSpeechSource

__all__ = ["read"]

ENDINGS = (".wav", ".flac")


def read(section: PrepareSection) -> tuple[Read, dict[str, Any]]:
    """Read the entries of all parts, each with its keyword list.

    Raises: InputError: a part lacks text, segments, keywords or (with `lists: slides`) ocr.
    """
    settings: SlideSpeechSource = section.settings
    root = Path(settings.root)
    needed = ("text", "segments", "ocr" if settings.lists == "slides" else "keywords")
    for _, part in settings.parts():
        folder = part_folder(root, part, "slidespeech")
        if missing := [name for name in needed if not (folder / name).is_file()]:
            raise InputError(f"{folder}: lacks {', '.join(missing)}; unpack SlideSpeech's related_files.tar.gz here")
    how = "keywords as published" if settings.lists == "keywords" else f"words of {section.slides} slides"
    facts = {
        "title": "SlideSpeech",
        "licence": "as on https://www.openslr.org/144; the videos belong to their authors",
        "lists": {"from": how},
    }
    return _entries(section, settings, root), facts


def _entries(section: PrepareSection, settings: SlideSpeechSource, root: Path) -> Read:
    common = frozenset(read_words(settings.common_words_file)) if settings.common_words_file else frozenset()
    all_recordings = _find_recordings(root)
    for split, part in settings.parts():
        folder = root / part
        recordings = all_recordings
        if (folder / "wav.scp").is_file():
            recordings, rejected = scp_recordings(folder)
            yield from rejected
        slides: dict[str, list[Slide]] = {}
        if settings.lists == "slides":
            slides, rejected = read_slides(folder / "ocr", common)
            yield from rejected
        for entry in data_folder(folder, root, split, recordings):
            if settings.lists == "slides" and isinstance(entry, Entry):
                shown = slides.get(entry.talk or "", [])
                words = shown_between(shown, entry.start, entry.end or entry.start, section.slides)
                entry = replace(entry, keywords=tuple(words))
            yield entry


def _find_recordings(root: Path) -> Recordings:
    recordings: Recordings = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in ENDINGS:
            recordings.setdefault(path.stem, (str(root), path.relative_to(root).as_posix()))
    return recordings
