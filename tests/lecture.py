"""Synthetic lecture, its slide deck, and models that recognise its speech, for end-to-end tests.

The models are the embedded base, which can use a list of names in its prompt, with two newly initialised
adapters, which change nothing. The base was trained on lower-case invented names and on sentences with this wording;
without a list it recognises none of the names correctly.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from decks import pdf, slide

from sap2.data.audio import save_audio

BASE = Path(__file__).parent.parent / "sap2" / "assets" / "base"
# Sentence, pronunciation of the name for the synthesiser, and the name.
SAID = [
    ("the method of NAME is small", "[[tr|'I|l|k|It]]", "trilcit"),
    ("again they turn to NAME", "[[p|'aU|n|oU]]", "pounoe"),
    ("finally we turn to NAME", "[[br|'E|fl|@m]]", "brephlam"),
    ("thanks to NAME for the basic figure", "[[v|'E|d|@m]]", "vedam"),
    ("NAME tested this open group", "[[tr|'a|g|3]]", "tragor"),
    ("now NAME breaks the second paper", "[[w|'aI|m|z|i]]", "wiemzey"),
]
TEXT = [sentence.replace("NAME", name) for sentence, _, name in SAID]
UNSAID = ["phlyrhine", "grouvem", "teinar"]
SLIDES = [
    ("Small methods", "trilcit and pounoe", "not phlyrhine"),
    ("The figure", "by vedam, after brephlam", "or grouvem"),
    ("A group", "tragor, wiemzey", "and teinar"),
]
NAMES = {name: page for page, (_, line, _) in enumerate(SLIDES, start=1) for _, _, name in SAID if name in line}
PAUSE = 0.7  # s between two sentences


def speak(folder: Path) -> None:
    """Write talk.wav and deck.pdf."""
    from sap2.data.speech import SAMPLE_RATE, Synthesiser

    synthesiser = Synthesiser()
    silence = np.zeros(round(PAUSE * SAMPLE_RATE), np.float32)
    said = [0.6 * synthesiser.speak(text.replace("NAME", sound), "en-us", 185) for text, sound, _ in SAID]
    save_audio(folder / "talk.wav", np.concatenate([part for wave in said for part in (wave, silence)]))
    (folder / "deck.pdf").write_bytes(pdf([slide(*lines) for lines in SLIDES]))


def write_models(folder: Path) -> None:
    """Write `base`, and `pruner` and `recogniser` as they are before the first training step."""
    from sap2.model import load_model, load_processor, save_adapter
    from sap2.params import LoraSection, TrainSection
    from sap2.training.adapters import attach

    folder.mkdir()
    (folder / "base").symlink_to(BASE)
    for name in ("pruner", "recogniser"):
        processor = load_processor(BASE)
        model = attach(load_model(BASE), processor, TrainSection(), LoraSection())
        save_adapter(model, processor, folder / name)


def environment() -> dict[str, str]:
    """Return the environment of a process that runs this checkout's sap2 from any folder."""
    paths = [str(BASE.parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def demo(folder: Path, models: Path) -> Iterator[str]:
    """Run `sap2 demo` in its own process; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sap2", "demo", "--model", str(models), "--port", str(port), "--max-segment", "3"]
    with (folder / "demo.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment())
        try:
            yield _answering(f"http://127.0.0.1:{port}/", process, folder / "demo.log")
        finally:
            process.terminate()
            process.wait(timeout=30)


def _answering(address: str, process: subprocess.Popen, log: Path, seconds: float = 120) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return address
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the demo does not respond:\n{log.read_text()[-3000:]}")
