"""A recording and what was shown, read for `sap2.slides.talk.transcribe_talk`: for the commands and the demo alike."""

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
from sap2.slides.timing import Shown, times_known

__all__ = ["TalkInput", "read_talk"]


@dataclass(frozen=True)
class TalkInput:
    """What a talk is recognised from.

    Args:
        wave: 16 kHz mono.
        keywords: Of the slides, and those listed all the time.
        glossary: A long list, or an index, that is listed all the time, too; not shown as a whole.
        texts, sources: Of each page its text, and its file with its number there.
        times: When pages were shown; None = not known.
        timed_by: Where the times are from, in words.
        used: What each file of slides gave.
        notices: What was dropped or guessed.
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
        """The glossary in words."""
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
        slides: Decks, agendas, lists: see `sap2.slides.keywords.slides_keywords`; and an index of "sap2 index".
        everywhere: Keywords listed all the time, or their index.
        slide_times: See `sap2.slides.timing.times_known`.
        language: Of the slides; None = it is guessed.
        min_duration, max_duration: Bounds of the recording.
    Raises: InputError: recording, slides or times cannot be used.
    """
    glossary, slides = _glossary(slides, everywhere)
    if glossary is everywhere:
        everywhere = ()
    listed = slides_keywords(slides, language, options)
    times, notices = times_known(recording, len(listed.texts), slide_times)
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
    """The long list or index among what is given, and the slides without it."""
    indexes = [path for path in slides if is_index(path)]
    found = [*([everywhere] if isinstance(everywhere, KeywordIndex) or len(everywhere) >= LONG else [])]
    found += [read_keywords(file=path) for path in indexes]
    if len(found) > 1:
        raise InputError(
            f"{len(found)} indexes or lists of {LONG} keywords and more, expected at most one for a talk; join their "
            'lists and run "sap2 index" for the whole'
        )
    return found[0] if found else (), [path for path in slides if path not in indexes]


def _timed_by(slide_times: Path | None, times: Sequence[Shown] | None, texts: Sequence[str]) -> str:
    if slide_times is not None:
        return f"at the times of {slide_times}"
    if times is not None:
        return "at the recording's chapter marks"
    return "estimated from what is said" if texts else "none"
