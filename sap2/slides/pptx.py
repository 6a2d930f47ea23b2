"""PowerPoint decks: each slide's text, tables, SmartArt, charts, pictures, and optionally notes.

A slide is a tree of shapes. Its other content is in parts of the archive that relationships refer to:
slide1.xml ─ r:dm ─► diagrams/data1.xml · c:chart ─► charts/chart1.xml · r:embed ─► media/image1.png
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sap2.errors import InputError
from sap2.slides.archive import Archive, opened, texts
from sap2.slides.contents import Contents, Options, check_page_count
from sap2.slides.layout import Piece, rows
from sap2.slides.pictures import SlidePictures

__all__ = ["read_pptx"]

Box = tuple[float, float, float, float]  # left, top, width, height; English Metric Units

BREAK = "\v"  # between the lines of a shape
SLIDE = (9_144_000.0, 6_858_000.0)  # default size of a slide
MAX_DEPTH = 50  # of nested groups
OTHER_FILES = {
    "word/": "a Word document", "xl/": "an Excel workbook", "Index/": "a Keynote deck", "index.apxl": "a Keynote deck",
    "Index.zip": "a Keynote deck", "META-INF/container.xml": "an EPUB book",
}  # fmt: skip


def read_pptx(path: Path, options: Options) -> Contents:
    """Read the lines of the slides of a PPTX, PPTM or PPSX, in the transitional and the strict dialect.

    Raises: InputError: it is damaged, encrypted, above a size limit, or another kind of file.
    """
    with opened(path, "PPTX file", "export it as PDF") as archive:
        _check_kind(archive)
        contents = Contents()
        if any(name.endswith("vbaProject.bin") for name in archive.names):
            contents.general.append("holds macros, which were not run")
        deck = _Deck(archive, options, contents)
        check_page_count(path, len(deck.slides))
        for number, slide in enumerate(deck.slides, start=1):
            contents.pages.append(deck.lines(slide, number))
    return contents


def _check_kind(archive: Archive) -> None:
    for name in archive.names:
        for start, kind in OTHER_FILES.items():
            if name.startswith(start) and not any(other.startswith("ppt/") for other in archive.names):
                way_out = "in Keynote, File > Export To > PDF or PowerPoint" if "Keynote" in kind else "save it as PDF"
                raise InputError(f"{archive.path}: is {kind}, expected slides; {way_out}")


@dataclass
class _Part:
    """An XML part, and its relationships by id."""

    name: str
    root: Any
    targets: dict[str, str]  # names of the parts that internal relationships refer to
    kinds: dict[str, str]  # kinds of all relationships
    external: frozenset[str]

    def of_kind(self, kind: str) -> str | None:
        keys = (key for key, other in self.kinds.items() if other == kind)
        return next((self.targets[key] for key in keys if key in self.targets), None)


@dataclass
class _Deck:
    archive: Archive
    options: Options
    contents: Contents
    slides: list[str] = field(init=False)
    size: tuple[float, float] = SLIDE

    def __post_init__(self) -> None:
        self._boxes: dict[str, tuple[str | None, dict[tuple[str, str], Box]]] = {}
        self.pictures = SlidePictures(self.archive, self.options, self.contents)
        start = self.part("", root=None)
        presentation = self.part(start.of_kind("officeDocument") or "ppt/presentation.xml")
        listed = presentation.root.iterfind("{*}sldIdLst/{*}sldId")
        names = [presentation.targets.get(_reference(slide, "id"), "") for slide in listed]
        self.slides = [name for name in names if name]
        if (size := presentation.root.find("{*}sldSz")) is not None:
            self.size = float(size.get("cx", SLIDE[0])), float(size.get("cy", SLIDE[1]))

    def part(self, name: str, **given: Any) -> _Part:
        folder, base = posixpath.split(name)
        targets, kinds, external = {}, {}, set()
        if (relations := posixpath.join(folder, "_rels", base + ".rels")) in self.archive:
            for relation in self.archive.xml(relations).iterfind("{*}Relationship"):
                key = relation.get("Id", "")
                kinds[key] = relation.get("Type", "").rpartition("/")[2]
                if relation.get("TargetMode") == "External":
                    external.add(key)
                else:
                    target = relation.get("Target", "")
                    targets[key] = posixpath.normpath(posixpath.join("/" + folder, target)).lstrip("/")
        root = given["root"] if "root" in given else self.archive.xml(name)
        return _Part(name, root, targets, kinds, frozenset(external))

    def lines(self, name: str, number: int) -> list[str]:
        """Return the lines of a slide in reading order, followed by the lines of its notes."""
        slide = self.part(name)
        if slide.external:
            self.contents.notice(number, "has external links, which were not followed")
        tree = slide.root.find("{*}cSld/{*}spTree")
        pieces = [] if tree is None else list(_Slide(self, slide, number).pieces(tree))
        lines = [line for row in rows(pieces, BREAK) for line in row.text.split(BREAK)]
        if self.options.notes and (notes := slide.of_kind("notesSlide")):
            for shape in self.part(notes).root.iterfind(".//{*}sp"):
                if (holder := shape.find("{*}nvSpPr/{*}nvPr/{*}ph")) is not None and holder.get("type") == "body":
                    lines += _paragraphs(shape)
        return lines

    def inherited(self, slide: _Part, holder: Any) -> Box | None:
        """Return the box that a placeholder inherits from its layout or master."""
        kind, index = holder.get("type", "obj"), holder.get("idx", "0")
        name = slide.of_kind("slideLayout")
        while name:
            above, boxes = self._placeholders(name)
            keys = [("", index), (kind, ""), ("title" if kind == "ctrTitle" else "body", "")]
            if box := next((boxes[key] for key in keys if key in boxes), None):
                return box
            name = above
        return None

    def _placeholders(self, name: str) -> tuple[str | None, dict[tuple[str, str], Box]]:
        """Return the name of a layout's master, and the boxes of its placeholders by index and by kind."""
        if name not in self._boxes:
            part = self.part(name)
            boxes: dict[tuple[str, str], Box] = {}
            for shape in part.root.iterfind(".//{*}sp"):
                holder, box = shape.find("{*}nvSpPr/{*}nvPr/{*}ph"), _own_box(shape)
                if holder is not None and box:
                    boxes.setdefault(("", holder.get("idx", "0")), box)
                    boxes.setdefault((holder.get("type", "obj"), ""), box)
            above = part.of_kind("slideMaster") if part.root.tag.endswith("}sldLayout") else None
            self._boxes[name] = above, boxes
        return self._boxes[name]


@dataclass
class _Slide:
    """Reads the shapes of a slide as pieces, with a line per paragraph."""

    deck: _Deck
    part: _Part
    number: int

    def pieces(self, tree: Any, scale: Box = (1, 1, 0, 0), depth: int = 0) -> Iterator[Piece]:
        """Yield the shapes of a tree as pieces.

        Args:
            scale: Factors and offsets of the enclosing groups: x factor, y factor, x offset, y offset.
        """
        for shape in _shapes(tree):
            kind = shape.tag.rpartition("}")[2]
            if kind == "grpSp":
                if depth < MAX_DEPTH:
                    yield from self.pieces(shape, _scaled(shape, scale), depth + 1)
                continue
            lines = {"sp": self._text, "graphicFrame": self._frame, "pic": self._picture}.get(kind, _nothing)(shape)
            if lines:
                left, top, width, height = self._box(shape)
                x_factor, y_factor, x_offset, y_offset = scale
                left, top = left * x_factor + x_offset, top * y_factor + y_offset
                yield Piece(left, top, left + width * x_factor, top + height * y_factor, BREAK.join(lines))

    def _box(self, shape: Any) -> Box:
        holder = shape.find("*/{*}nvPr/{*}ph")
        inherited = None if holder is None else self.deck.inherited(self.part, holder)
        left, top, width, height = _own_box(shape) or inherited or (0.0, 0.0, 1.0, 1.0)
        return left, top, max(width, 1.0), max(height, 1.0)

    def _text(self, shape: Any) -> list[str]:
        background = [] if _fill(shape) is None else self._picture(shape)
        return [*_paragraphs(shape), *background]

    def _frame(self, frame: Any) -> list[str]:
        """Return the lines of a table, a SmartArt, a chart, or the picture of an embedded object."""
        data = frame.find("{*}graphic/{*}graphicData")
        if data is None:
            return []
        if (ids := data.find("{*}relIds")) is not None:
            return _diagram(self._xml(_reference(ids, "dm"), "SmartArt"))
        if (chart := data.find("{*}chart")) is not None:
            return _chart(self._xml(_reference(chart, "id"), "a chart"))
        if (table := data.find("{*}tbl")) is not None:
            return [line for cell in table.iterfind("{*}tr/{*}tc") for line in _paragraphs(cell)]
        pictures = [line for picture in data.iterfind(".//{*}pic") for line in self._picture(picture)]
        if not pictures:
            self.deck.contents.notice(self.number, "an object of another program was left out")
        return pictures

    def _xml(self, key: str, what: str) -> Any:
        """Return the root of a part that the slide refers to; None = it is missing in the archive."""
        name = self.part.targets.get(key, "")
        if name not in self.deck.archive:
            self.deck.contents.notice(self.number, f"{what} is missing in the file")
            return None
        return self.deck.archive.xml(name)

    def _picture(self, shape: Any) -> list[str]:
        blip = shape.find("{*}blipFill/{*}blip") if _fill(shape) is None else _fill(shape)
        if blip is None or not (key := _reference(blip, "embed")):
            return []  # an external picture, which the notice of external links covers
        _, _, width, height = self._box(shape)
        share = width * height / (self.deck.size[0] * self.deck.size[1])
        return self.deck.pictures.lines(self.number, self.part.targets.get(key, ""), share)


def _nothing(_shape: Any) -> list[str]:
    return []


def _shapes(tree: Any) -> Iterator[Any]:
    """Yield the shapes of a tree; of alternatives only the first, which PowerPoint shows."""
    for shape in tree:
        if not isinstance(shape.tag, str):
            continue
        if shape.tag.endswith("}AlternateContent"):
            choices = [_shapes(choice) for choice in shape if isinstance(choice.tag, str)]
            yield from next(filter(None, map(list, choices)), [])
        else:
            yield shape


def _fill(shape: Any) -> Any:
    """Return the picture that fills a shape, or None."""
    return shape.find("{*}spPr/{*}blipFill/{*}blip")


def _reference(element: Any, name: str) -> str:
    """Return the id of a relationship: an attribute in the namespace of relationships."""
    return next((value for key, value in element.attrib.items() if key.endswith(f"elationships}}{name}")), "")


def _own_box(shape: Any) -> Box | None:
    frame = shape.find("{*}spPr/{*}xfrm") if shape.find("{*}xfrm") is None else shape.find("{*}xfrm")
    if frame is None or (offset := frame.find("{*}off")) is None or (size := frame.find("{*}ext")) is None:
        return None
    try:
        return float(offset.get("x")), float(offset.get("y")), float(size.get("cx")), float(size.get("cy"))
    except (TypeError, ValueError):
        return None


def _scaled(group: Any, outer: Box) -> Box:
    """Return the factors and offsets of coordinates in a group, combined with those of its enclosing groups."""
    frame = group.find("{*}grpSpPr/{*}xfrm")
    values = [] if frame is None else [
        float(frame.find(name).get(key))
        for name, key in (
            ("{*}off", "x"), ("{*}off", "y"), ("{*}ext", "cx"), ("{*}ext", "cy"),
            ("{*}chOff", "x"), ("{*}chOff", "y"), ("{*}chExt", "cx"), ("{*}chExt", "cy"),
        )
        if frame.find(name) is not None and frame.find(name).get(key)
    ]  # fmt: skip
    if len(values) < 8 or not values[6] or not values[7]:
        return outer
    left, top, width, height, inner_left, inner_top, inner_width, inner_height = values
    across, down = width / inner_width, height / inner_height
    return (
        outer[0] * across, outer[1] * down,
        outer[0] * (left - inner_left * across) + outer[2], outer[1] * (top - inner_top * down) + outer[3],
    )  # fmt: skip


def _paragraphs(element: Any) -> list[str]:
    """Return the lines of the paragraphs of a shape, cell or node, including formulas, split at line breaks."""
    lines = []
    for paragraph in element.iterfind(".//{*}p"):
        runs = paragraph.iter("{*}t", "{*}br")
        text = "".join("\n" if run.tag.endswith("}br") else run.text or "" for run in runs)
        lines += [line.strip() for line in text.replace(BREAK, "\n").split("\n")]
    return list(filter(None, lines))


def _diagram(root: Any) -> list[str]:
    """Return the texts of a SmartArt's nodes in depth-first order."""
    if root is None:
        return []
    nodes = {node.get("modelId", ""): _paragraphs(node) for node in root.iterfind("{*}ptLst/{*}pt")}
    children: dict[str, list[tuple[int, str]]] = {}
    for edge in root.iterfind("{*}cxnLst/{*}cxn"):
        if edge.get("type", "parOf") == "parOf":
            order = edge.get("srcOrd", "")
            child = int(order) if order.isdecimal() else 0, edge.get("destId", "")
            children.setdefault(edge.get("srcId", ""), []).append(child)
    lines, left = [], [*reversed(nodes)]
    while left:  # roots, and nodes without a connection, in the file's order
        key = left.pop()
        lines += nodes.pop(key, [])
        left.extend(child for _, child in sorted(children.pop(key, []), reverse=True) if child in nodes)
    return lines


def _chart(root: Any) -> list[str]:
    """Return a chart's titles and labels, then the names of its series and categories, without numbers."""
    if root is None:
        return []
    written = [line for label in root.iterfind(".//{*}rich") for line in _paragraphs(label)]
    names = texts(root, ".//{*}ser/{*}tx//{*}v") + texts(root, ".//{*}series/{*}tx//{*}v")
    for path in (".//{*}cat//{*}strCache//{*}v", ".//{*}cat//{*}multiLvlStrCache//{*}v", ".//{*}strDim//{*}pt"):
        names += texts(root, path)
    return list(dict.fromkeys(written + names))
