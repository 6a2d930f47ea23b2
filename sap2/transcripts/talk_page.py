"""A talk as a page: its slides beside the words. One file, no network; the demo shows the same view."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from sap2.pages import filled, page_file
from sap2.transcripts.talk import Talk
from sap2.transcripts.talk_formats import marked
from sap2.transcripts.transcript import left_out_notice, warning_of

__all__ = ["GENERATOR", "Slide", "render_talk", "talk_script", "talk_style", "talk_view"]

GENERATOR = "sap2 talk"  # the page's own mark
Part = dict[str, Any]


@dataclass(frozen=True)
class Slide:
    """A page that was shown: its text, and the address of its picture, where there is one."""

    text: str
    picture: str | None = None


def render_talk(
    talk: Talk, title: str, slides: Sequence[Slide], recording: str, about: Sequence[str], notices: Sequence[str]
) -> str:
    """The page of a talk.

    Args:
        title: Its heading.
        recording: Address of the recording, relative to the page; without it there words cannot be played.
        about: What the talk was made from, in short lines.
        notices: What a person should know: what was dropped or guessed.
    """
    warning = warning_of(talk.transcript)
    left_out = left_out_notice(talk.transcript)
    return filled(
        "sap2.transcripts",
        "talk_page.html.j2",
        talk_style(),
        talk_script() + "new TalkView().show(JSON.parse($('data').textContent));\n",
        talk_view(talk, slides),
        generator=GENERATOR,
        title=title,
        recording=recording,
        about=about,
        warning=warning,
        notices=[*notices, *([left_out] if left_out else [])],
        talk=talk,
        has_diff=any(one.plain is not None for one in talk.segments),
    )


def talk_style() -> str:
    """The CSS of what the script draws, beside that of all pages."""
    return page_file("sap2.transcripts", "talk_page.css")


def talk_script() -> str:
    """The script that draws a view: defines `TalkView`, `made` and `$`."""
    return page_file("sap2.transcripts", "talk_page.js")


def talk_view(talk: Talk, slides: Sequence[Slide]) -> dict[str, Any]:
    """What the script draws, as JSON.

    Keywords come with their pages, from 1 on; 0 stands for no page.
    """
    written = Counter(word for one in talk.segments for word in one.written)
    listed = {word: page for one in reversed(talk.segments) for word, page in one.listed.items()}
    return {
        "duration": talk.duration,
        "segments": [
            {
                "start": one.start,
                "end": one.end,
                "pages": list(one.pages),
                "parts": _parts(one.text, one.written),
                "diff": None if one.plain is None else _diff(one.plain, one.text, one.written),
                "confidence": one.confidence,
                "doubtful": one.doubtful,
            }
            for one in talk.segments
        ],
        "left_out": [{"start": start, "end": end} for start, end in talk.left_out],
        "slides": [{"text": one.text, "picture": one.picture} for one in slides],
        "written": [[word, page, written[word]] for word, page in talk.written.items()],
        "unwritten": [[word, page] for word, page in listed.items() if word not in written],
    }


def _parts(text: str, written: dict[str, int]) -> list[Part]:
    """The text in pieces: words between keywords, and keywords with their page.

    >>> _parts("ask meyer now", {"Meyer": 3})
    [{'text': 'ask '}, {'text': 'meyer', 'page': 3}, {'text': ' '}, {'text': 'now'}]
    """
    parts: list[Part] = []

    def mark(word: str, page: int) -> str:
        parts.append({"text": word, "page": page})
        return ""

    def plain(between: str) -> str:
        parts.extend({"text": one} for one in re.findall(r"\S+\s*|\s+", between))
        return ""

    marked(text, written, mark, plain)
    return parts


def _diff(without: str, text: str, written: dict[str, int]) -> list[tuple[str, list[Part]]]:
    """What the context changed, word by word, in the pieces of `_parts`: a keyword of several words is one.

    >>> for row in _diff("ask maier now", "ask Meyer now", {"Meyer": 3}): print(row)
    ('same', [{'text': 'ask '}])
    ('without', [{'text': 'maier '}])
    ('with', [{'text': 'Meyer', 'page': 3}, {'text': ' '}])
    ('same', [{'text': 'now'}])
    """
    one, other = (_words(_parts(side, written)) for side in (without, text))
    # A word that the list only spells otherwise is the same word.
    before, after = (["".join(part["text"] for part in word).strip() for word in side] for side in (one, other))
    matcher = SequenceMatcher(None, list(map(str.casefold, before)), list(map(str.casefold, after)), False)
    rows: list[tuple[str, list[Part]]] = []
    for kind, first, last, begin, end in matcher.get_opcodes():
        if kind != "equal" and last > first:
            rows.append(("without", [part for word in one[first:last] for part in word]))
        if end > begin:
            rows.append(("same" if kind == "equal" else "with", [part for word in other[begin:end] for part in word]))
    return rows


def _words(parts: list[Part]) -> list[list[Part]]:
    """Each part with the blank that follows it."""
    words: list[list[Part]] = []
    for part in parts:
        if words and not part["text"].strip():
            words[-1].append(part)
        else:
            words.append([part])
    return words
