"""Text, Markdown and HTML as pages, split at form feeds, headings and rules."""

import re
from html.parser import HTMLParser
from pathlib import Path

from sap2.errors import InputError
from sap2.slides.contents import Contents

__all__ = ["read_content", "read_html", "read_markdown", "read_text"]


RULE = re.compile(r"^-{3,}[ \t]*$", re.MULTILINE)
YAML_LINE = re.compile(r"\s*(?:[\w.$-]+\s*:(?:\s.*)?|#.*|-\s.*|[ \t]+\S.*|\.\.\.)?")
TABLE_RULE = re.compile(r"[\s|:-]*-[\s|:-]*")
FRONT_LINES = 200  # of front matter, at most


def read_content(path: Path) -> str:
    """Read a text file in UTF-8.

    Raises: InputError: it is in another encoding, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: neither slides nor UTF-8 text ({error.reason} at byte {error.start}); expected PDF, PPTX, ODP, a "
            "picture, or text saved as UTF-8"
        ) from error


def read_text(path: Path) -> Contents:
    """Read plain text; form feeds separate pages."""
    return Contents([page.splitlines() for page in read_content(path).split("\f")])


def read_markdown(path: Path) -> Contents:
    """Read Markdown; headings and rules begin pages. Only the words of links, pictures and emphasis are kept.

    Front matter (Marp, Slidev, Quarto) is not a page. A file with front matter and rules is a deck whose slides are
    separated by rules alone; a slide may then hold several headings, unless Marp's `headingDivider` is set.
    """
    front, text = _front_matter(read_content(path))
    text = re.sub(r"```.*?```|<!--(?:(?!<!--).)*?-->", "", text, flags=re.DOTALL)
    # Patterns exclude nested openings: a page of brackets would otherwise take minutes.
    text = re.sub(r"!\[(?:bg|[wh]:|width:|height:)[^\[\]]*\]\([^()]*\)", "", text)  # Marp: layout of a picture
    text = re.sub(r"!?\[([^\[\]]*)\]\([^()]*\)", r"\1", text)
    text = re.sub(r"<[^<|>\s][^<|>]*>|[*`]+|(?<!\w)_+|(?<!_)_+(?!\w)", "", text)
    if front and RULE.search(text) and "headingDivider" not in front:
        pages = RULE.split(text)
    else:
        pages = re.split(r"^(?:-{3,}|(?=#{1,6} ))[ \t]*", text, flags=re.MULTILINE)
    lines = ([line.lstrip("#| ") for line in page.splitlines()] for page in pages if page.strip())
    return Contents([[line for line in page if not TABLE_RULE.fullmatch(line)] for page in lines])


def _front_matter(text: str) -> tuple[str, str]:
    """Split off the YAML block at the beginning of a Markdown file; "" if there is none."""
    first, *lines = text.lstrip().split("\n")
    if first.rstrip() != "---" or not lines or ":" not in lines[0]:
        return "", text
    for number, line in enumerate(lines[:FRONT_LINES]):
        if line.rstrip() in ("---", "..."):
            return "\n".join(lines[:number]), "\n".join(lines[number + 1 :])
        if not YAML_LINE.fullmatch(line.rstrip()):
            break
    return "", text


class _Html(HTMLParser):
    """Collects text by heading; ignores scripts, styles and embedded content."""

    UNSEEN = frozenset(["script", "style", "template", "noscript", "head", "title", "svg"])
    INLINE = frozenset("a abbr b bdi cite code em i mark q small span strong sub sup u wbr".split())

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[list[str]] = [[""]]
        self._unseen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.UNSEEN:
            self._unseen.append(tag)
        elif re.fullmatch(r"h[1-3]", tag):
            self.pages.append([""])
        elif tag not in self.INLINE:
            self.pages[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        elif tag not in self.INLINE:
            self.pages[-1].append("")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pages[-1][-1] += data


def read_html(path: Path) -> Contents:
    """Read HTML; headings begin pages."""
    parser = _Html()
    parser.feed(read_content(path))
    return Contents([page for page in parser.pages if any(map(str.strip, page))])
