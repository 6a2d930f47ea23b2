"""A talk with its slides as text, Markdown and JSON; keywords in the text are marked with their slide."""

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
    """Render a talk as a command's full output, including the final line end."""
    if kind == "json":
        return json.dumps({"file": title} | talk_json(talk), ensure_ascii=False) + "\n"
    if kind in ("srt", "vtt"):
        return subtitles(talk.transcript, kind) + "\n"
    if kind == "md":
        return markdown(talk, title) + (f"\n## How it was made\n\n{_fenced(explained(talk))}" if explain else "")
    text = talk.transcript.text + "\n"
    if show_keywords:
        found = ", ".join(f"{word} ({_slide(page)})" for word, page in talk.written.items())
        text += f"  keywords found: {found or 'none'}\n"
    return text + ("\n" + explained(talk) if explain else "")


def talk_json(talk: Talk) -> dict[str, Any]:
    """Convert a talk to JSON: as `verbose`, plus slides, list, selected and written keywords of each segment."""
    whole = verbose(talk.transcript)
    for row, segment in zip(whole["segments"], talk.segments, strict=True):
        row["slides"] = list(segment.pages)
        row["listed"] = [{"keyword": word, "slide": page} for word, page in segment.listed.items()]
        row["kept"] = {word: round(score, 4) + 0.0 for word, score in segment.kept.items()}
        row["written"] = segment.written
        if segment.plain is not None:
            row["without_context"] = segment.plain
    return whole | {"written": talk.written}


def markdown(talk: Talk, title: str) -> str:
    """Write paragraphs with times; keywords in the text are bold, followed by their slide."""
    blocks = [f"# {_escaped(title)}"]
    for segment in talk.segments:
        if segment.text:
            words = marked(
                segment.text, segment.written, lambda word, page: f"**{_escaped(word)}** ({_slide(page)})", _escaped
            )
            shown = f" · {', '.join(map(_slide, segment.pages))}" if segment.pages else ""
            doubt = " · doubtful" if segment.doubtful else ""
            blocks.append(f"*{_clock(segment.start)}{shown}{doubt}*  \n{words}")
    return "\n\n".join(blocks) + "\n"


def marked(text: str, words: dict[str, int], mark: Callable[[str, int], str], plain: Callable[[str], str] = str) -> str:
    """Format a text's keywords by `mark`, and the text between them by `plain`.

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
    """Explain each segment: list, selected keywords with scores, written keywords, and the text without context."""
    return "\n".join(_explained(segment) for segment in talk.segments)


def _explained(segment: TalkSegment) -> str:
    rows = [
        ("slides", ", ".join(map(str, segment.pages))),
        ("list", ", ".join(f"{word} ({_slide(page)})" for word, page in segment.listed.items())),
        ("kept", ", ".join(f"{word} ({score:.2f})" for word, score in segment.kept.items())),
        ("written", ", ".join(segment.written)),
        ("text", segment.text),
    ]
    if segment.plain is not None:
        rows.append(("without", segment.plain))
    shown = "".join(f"  {name:8}{value or '–'}\n" for name, value in rows)
    return f"{_clock(segment.start)} – {_clock(segment.end)}\n{shown}"


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
    """Enclose a text in a fence longer than its longest run of backticks."""
    fence = "`" * (1 + max(map(len, ["``", *re.findall("`+", text)])))
    return f"{fence}text\n{text}{fence}\n"
