"""Constants shared by all packages."""

__all__ = ["SAMPLE_RATE", "SPLITS", "Seconds"]

Seconds = float
SAMPLE_RATE = 16_000  # Hz of all audio in the pipeline: the audio encoder's rate
SPLITS = ("train", "dev", "test")
