"""A talk with its slides as text, Markdown and JSON, each list word that acted marked with the slide it came from."""

import json
import re
from collections.abc import Callable
from typing import Any, Literal

from sap2.spelling import forms, occurrences, outermost
from sap2.transcripts.formats import subtitles, verbose
from sap2.transcripts.talk import Talk, TalkSegment

__all__ = ["explained", "marked", "markdown", "rendered", "talk_json"]


def rendered(
    talk: Talk,
    title: str,
    kind: Literal["text", "json", "srt", "vtt", "md"],
    explain: bool = False,
    show_keywords: bool = False,
) -> str:
    """The whole output of a command, with the end of its last line."""
    if kind == "json":
        return json.dumps({"file": title} | talk_json(talk), ensure_ascii=False) + "\n"
    if kind in ("srt", "vtt"):
        return subtitles(talk.transcript, kind) + "\n"
    if kind == "md":
        return markdown(talk, title) + (f"\n## How it came about\n\n{_fenced(explained(talk))}" if explain else "")
    text = talk.transcript.text + "\n"
    if show_keywords:
        found = ", ".join(f"{word} ({_slide(page)})" for word, page in talk.written.items())
        text += f"  keywords found: {found or 'none'}\n"
    return text + ("\n" + explained(talk) if explain else "")


def talk_json(talk: Talk) -> dict[str, Any]:
    """What `verbose` has, and of each segment its slides, list, stage 1's choice and the keywords written."""
    whole = verbose(talk.transcript)
    for row, one in zip(whole["segments"], talk.segments, strict=True):
        row["slides"] = list(one.pages)
        row["listed"] = [{"keyword": word, "slide": page} for word, page in one.listed.items()]
        row["kept"] = {word: round(score, 4) + 0.0 for word, score in one.kept.items()}
        row["written"] = one.written
        if one.plain is not None:
            row["without_context"] = one.plain
    return whole | {"written": talk.written}


def markdown(talk: Talk, title: str) -> str:
    """Paragraphs with times; keywords that acted are bold, the slide each came from beside it."""
    blocks = [f"# {_escaped(title)}"]
    for one in talk.segments:
        if one.text:
            words = marked(one.text, one.written, lambda word, page: f"**{_escaped(word)}** ({_slide(page)})", _escaped)
            shown = f" · {', '.join(map(_slide, one.pages))}" if one.pages else ""
            doubt = " · doubtful" if one.doubtful else ""
            blocks.append(f"*{_clock(one.start)}{shown}{doubt}*  \n{words}")
    return "\n\n".join(blocks) + "\n"


def marked(text: str, words: dict[str, int], mark: Callable[[str, int], str], plain: Callable[[str], str] = str) -> str:
    """Text in which `mark` has written the keywords, and `plain` what lies between them.

    >>> marked("ask meyer's and jon", {"Meyer": 3}, lambda word, page: f"[{word}:{page}]")
    "ask [meyer:3]'s and jon"
    """
    pages: dict[tuple[str, ...], int] = {}
    for keyword, page in words.items():
        for spelt, _ in forms(keyword):
            pages.setdefault(spelt, page)
    out, last = "", 0
    for start, end, page in outermost(occurrences(text, pages)):
        out += plain(text[last:start]) + mark(text[start:end], page)
        last = end
    return out + plain(text[last:])


def explained(talk: Talk) -> str:
    """By segment: the list given, what stage 1 kept and how surely, what stage 2 wrote, the text without context."""
    return "\n".join(_explained(one) for one in talk.segments)


def _explained(one: TalkSegment) -> str:
    rows = [
        ("slides", ", ".join(map(str, one.pages))),
        ("list", ", ".join(f"{word} ({_slide(page)})" for word, page in one.listed.items())),
        ("kept", ", ".join(f"{word} ({score:.2f})" for word, score in one.kept.items())),
        ("written", ", ".join(one.written)),
        ("text", one.text),
    ]
    if one.plain is not None:
        rows.append(("without", one.plain))
    shown = "".join(f"  {name:8}{value or '–'}\n" for name, value in rows)
    return f"{_clock(one.start)} – {_clock(one.end)}\n{shown}"


def _slide(page: int) -> str:
    return f"slide {page}" if page else "list"


def _clock(seconds: float) -> str:
    """
    >>> _clock(3725.9)
    '1:02:05'
    """
    minutes, whole = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{whole:02d}"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|&~])", r"\\\1", text)


def _fenced(text: str) -> str:
    """Text as it is, in a fence longer than any run of backticks within."""
    fence = "`" * (1 + max(map(len, ["``", *re.findall("`+", text)])))
    return f"{fence}text\n{text}{fence}\n"
