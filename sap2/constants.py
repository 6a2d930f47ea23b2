"""Constants shared by all packages."""

from pathlib import Path

__all__ = ["EMBEDDED", "EMBEDDED_BASES", "ENGLISH", "SAMPLE_RATE", "SPLITS", "Seconds"]

Seconds = float
SAMPLE_RATE = 16_000  # Hz of all audio in the pipeline: the audio encoder's rate
SPLITS = ("train", "dev", "test")
# What the package contains: a base for the synthetic corpus, and a recogniser of people's English, which is a folder
# with a base and its settings.
EMBEDDED = Path(__file__).parent / "assets" / "base"
ENGLISH = Path(__file__).parent / "assets" / "english"
EMBEDDED_BASES = {"embedded": EMBEDDED, "english": ENGLISH / "base"}  # by their names in `base.path`
