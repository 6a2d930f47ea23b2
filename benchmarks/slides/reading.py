"""Time and memory of reading a deck, and the words of a PDF that are read in pieces; a process per deck.

python benchmarks/slides/reading.py DECK...      # a line of JSON per deck
"""

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

WORD = re.compile(r"[^\W\d_]{2,}")


def measure(path: Path) -> dict:
    """Measure pages, seconds, CPU seconds, peak MB, and for a PDF the torn and lost words."""
    from sap2.errors import InputError
    from sap2.slides import read_deck

    started, spent = time.perf_counter(), time.process_time()
    try:
        pages = read_deck(path).pages
    except InputError as error:
        return {"deck": path.name, "refused": str(error)}
    row = {
        "deck": path.name,
        "pages": len(pages),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu": round(time.process_time() - spent, 1),
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    if path.suffix == ".pdf" and any(plain := plain_text(path)):
        row |= torn(["\n".join(page.lines) for page in pages], plain)
    return row


def plain_text(path: Path) -> list[str]:
    """Return PDFium's plain text of each page: its words are correct, its order and line ends are the file's."""
    import pypdfium2

    with pypdfium2.PdfDocument(path) as document:
        return [page.get_textpage().get_text_range() for page in document]


def torn(read: Sequence[str], plain: Sequence[str]) -> dict[str, int]:
    """Count distinct words that were read but are in no page's plain text (torn), and the reverse (lost).

    >>> torn(["zer met Gri ffi ths"], ["Pfizer met Grif\\ufffefiths"])
    {'words': 3, 'torn': 4, 'lost': 2}
    """
    hyphen = re.compile("[\u0002\ufffe]")
    theirs = {word for page in plain for word in WORD.findall(hyphen.sub("", page))}
    parts = {word for page in plain for word in WORD.findall(hyphen.sub("-", page))}
    ours = {word for page in read for word in WORD.findall(page)}
    return {"words": len(theirs), "torn": len(ours - theirs - parts), "lost": len(theirs - ours)}


def main(files: Sequence[str]) -> None:
    if files[:1] == ["--single"]:
        print(json.dumps(measure(Path(files[1])), ensure_ascii=False))
        return
    for file in files:
        done = subprocess.run([sys.executable, __file__, "--single", file], capture_output=True, text=True, check=False)
        print(done.stdout or json.dumps({"deck": Path(file).name, "failed": done.stderr[-300:]}), end="", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
