"""Take the screenshots of docs/talks.md: PYTHONPATH=. python tests/demo_pictures.py docs/images"""

import subprocess
import sys
import tempfile
from pathlib import Path

import lecture
from browser import Browser, browser_or_skip
from decks import pdf

INK, ACCENT = b"0.11 0.14 0.19 rg ", b"0.18 0.4 0.56 rg "


def designed(number: int, title: str, *lines: str) -> bytes:
    """Return a slide of 720 × 540 points: a bar, a title, a bullet list and a page number."""

    def text(left: float, base: float, size: int, words: str) -> bytes:
        return b"BT /F %d Tf %g %g Td (%s) Tj ET\n" % (size, left, base, words.encode("cp1252"))

    page = ACCENT + b"0 430 720 110 re f 1 1 1 rg " + text(60, 470, 40, title)
    for row, line in enumerate(lines):
        base = 350 - 70 * row
        page += ACCENT + b"60 %d 12 12 re f " % (base + 4) + INK + text(92, base, 28, line)
    return page + b"0.5 0.55 0.6 rg " + text(60, 30, 16, "A lecture") + text(650, 30, 16, f"{number} / 3")


def write_talk(folder: Path) -> Path:
    """Write the talk, its deck and its page; return the page."""
    lecture.speak(folder)
    pages = [designed(number, *lines) for number, lines in enumerate(lecture.SLIDES, start=1)]
    (folder / "deck.pdf").write_bytes(pdf(pages))
    lecture.write_models(folder / "models")
    command = [sys.executable, "-m", "sap2", "talk", "talk.wav", "deck.pdf", "-S", "inference.max_segment=3"]
    subprocess.run(command, cwd=folder, check=True, env=lecture.environment())
    return folder / "talk.talk" / "talk.html"


def take_page(browser: Browser, page: Path, output: Path) -> None:
    """Write talk-page.png: the page of `sap2 talk`."""
    browser.look(1000, 1000, "light")
    browser.open(page)
    browser.wait_for("document.getElementById('audio').readyState > 0")
    browser.wait_for("[...document.querySelectorAll('.shown img')].every(one => one.naturalWidth)")
    browser.screenshot(output / "talk-page.png")


def take_demo(browser: Browser, address: str, folder: Path, output: Path) -> None:
    """Write demo-phone.png: the demo, with changes by the context."""
    browser.look(1100, 860, "light")
    browser.open(address)
    browser.choose("#file", folder / "talk.wav")
    browser.choose("#slides", folder / "deck.pdf")
    browser.value("document.querySelector('#talk button').click()")
    browser.wait_for("!document.getElementById('result').hidden", seconds=120)
    browser.wait_for("document.getElementById('audio').readyState > 0")
    browser.value("document.getElementById('diff').click()")
    browser.look(390, 800, "dark")
    browser.value("document.getElementById('heard').scrollIntoView()")
    browser.value("scrollBy(0, 90)")
    browser.value("new Promise(done => setTimeout(done, 500))")
    browser.screenshot(output / "demo-phone.png")


def compress(path: Path) -> None:
    """Reduce a picture to 256 colours, a third of the bytes."""
    from PIL import Image

    picture = Image.open(path).convert("RGB")
    picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    output = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary, browser_or_skip(at_hand=True) as browser:
        folder = Path(temporary)
        take_page(browser, write_talk(folder), output)
        with lecture.demo(folder, folder / "models") as address:
            take_demo(browser, address, folder, output)
    for name in ("talk-page.png", "demo-phone.png"):
        compress(output / name)


if __name__ == "__main__":
    main()
