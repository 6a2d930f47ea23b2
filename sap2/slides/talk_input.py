"""Reading of a recording and its slides for `sap2.slides.talk.transcribe_talk`, by the commands and the demo."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sap2.constants import Seconds
from sap2.data.audio import load_audio
from sap2.errors import InputError
from sap2.inference.index import LONG, KeywordIndex
from sap2.inference.keyword_files import is_index, read_keywords
from sap2.slides.keywords import Keyword, slides_keywords
from sap2.slides.reading import DEFAULTS, Options
from sap2.slides.timing import Shown, known_times

__all__ = ["TalkInput", "read_talk"]


@dataclass(frozen=True)
class TalkInput:
    """The input of a talk's recognition.

    Args:
        wave: 16 kHz mono.
        keywords: Keywords of the slides, and keywords that are listed for every segment.
        texts, sources: For each page its text, and its file with the page's number in it.
        times: Times at which pages were shown; None = unknown.
        timed_by: Origin of the times, in words.
        used: A summary of each file of slides.
        notices: Content that was dropped, and settings that were guessed.
        glossary: Long list or index that is listed for every segment, and never shown in full.
    """

    wave: np.ndarray
    keywords: list[Keyword]
    texts: list[str]
    sources: list[tuple[Path, int]]
    times: list[Shown] | None
    timed_by: str
    used: list[str]
    notices: list[str]
    glossary: Sequence[str] = ()

    @property
    def glossary_used(self) -> str:
        """Summary of the glossary."""
        return f"{len(self.glossary)} keywords of a long list, all the time"


def read_talk(
    recording: Path,
    slides: Sequence[Path],
    everywhere: Sequence[str] = (),
    slide_times: Path | None = None,
    language: str | None = None,
    options: Options = DEFAULTS,
    min_duration: Seconds = 0.0,
    max_duration: Seconds | None = None,
) -> TalkInput:
    """Read a talk's files.

    Args:
        slides: Decks, agendas, lists: see `sap2.slides.keywords.slides_keywords`; also an index of "sap2 index".
        everywhere: Keywords that are listed for every segment, or their index.
        slide_times: See `sap2.slides.timing.known_times`.
        language: Language of the slides; None = guess it.
        min_duration, max_duration: Bounds of the recording's length.
    Raises: InputError: recording, slides or times cannot be used.
    """
    glossary, slides = _glossary(slides, everywhere)
    if glossary is everywhere:
        everywhere = ()
    listed = slides_keywords(slides, language, options)
    times, notices = known_times(recording, len(listed.texts), slide_times)
    wave = load_audio(recording, min_duration, max_duration)
    used = list(listed.used)
    if everywhere:
        used.append(f"{len(set(everywhere))} more keyword{'' if len(set(everywhere)) == 1 else 's'}, all the time")
    given = TalkInput(
        wave,
        [*listed.keywords, *(Keyword(0, word) for word in everywhere)],
        listed.texts,
        listed.sources,
        times,
        _timed_by(slide_times, times, listed.texts),
        used,
        [*listed.notices, *notices],
        glossary,
    )
    if glossary:
        given.used.append(given.glossary_used)
    return given


def _glossary(slides: Sequence[Path], everywhere: Sequence[str]) -> tuple[Sequence[str], list[Path]]:
    """Return the long list or index among the inputs, and the slides without it."""
    indexes = [path for path in slides if is_index(path)]
    long = isinstance(everywhere, KeywordIndex) or len(everywhere) >= LONG
    glossaries = [*([everywhere] if long else []), *(read_keywords(file=path) for path in indexes)]
    if len(glossaries) > 1:
        raise InputError(
            f"{len(glossaries)} indexes or lists of {LONG} keywords or more, expected at most one per talk; merge the "
            'lists and run "sap2 index" on the result'
        )
    return glossaries[0] if glossaries else (), [path for path in slides if path not in indexes]


def _timed_by(slide_times: Path | None, times: Sequence[Shown] | None, texts: Sequence[str]) -> str:
    if slide_times is not None:
        return f"at the times of {slide_times}"
    if times is not None:
        return "at the recording's chapter marks"
    return "estimated from the speech" if texts else "none"
