"""Constants shared by all packages."""

from pathlib import Path

__all__ = ["EMBEDDED", "SAMPLE_RATE", "SPLITS", "Seconds"]

Seconds = float
SAMPLE_RATE = 16_000  # Hz of all audio in the pipeline: the audio encoder's rate
SPLITS = ("train", "dev", "test")
EMBEDDED = Path(__file__).parent / "assets" / "base"  # the base that the package contains
