"""Take the pictures of `sap2 demo` that docs/talks.md shows: PYTHONPATH=. python tests/demo_pictures.py docs/images"""

import sys
import tempfile
from pathlib import Path

import lecture
from browser import Browser, browser_or_skip


def take(browser: Browser, address: str, folder: Path, output: Path) -> None:
    """Write demo-desktop.png and demo-phone.png."""
    browser.look(1000, 820, "light")
    browser.open(address)
    browser.choose("#file", folder / "talk.wav")
    browser.choose("#slides", folder / "deck.pdf")
    browser.value("document.querySelector('#talk button').click()")
    browser.wait_for("!document.getElementById('result').hidden", seconds=120)
    browser.wait_for("document.getElementById('audio').readyState > 0")
    browser.value("document.querySelectorAll('.keyword')[2].focus()")
    browser.press("Enter")
    browser.wait_for("!document.getElementById('audio').paused")
    browser.wait_for("document.getElementById('audio').paused")
    browser.value("document.getElementById('heard').scrollIntoView()")
    browser.screenshot(output / "demo-desktop.png")
    browser.press("Escape")
    browser.value("document.getElementById('diff').click()")
    browser.look(360, 740, "dark")
    browser.value("document.getElementById('heard').scrollIntoView()")
    browser.screenshot(output / "demo-phone.png")


def main() -> None:
    output = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as place, browser_or_skip(at_hand=True) as browser:
        folder = Path(place)
        lecture.speak(folder)
        lecture.write_models(folder / "models")
        with lecture.demo(folder, folder / "models") as address:
            take(browser, address, folder, output)


if __name__ == "__main__":
    main()
