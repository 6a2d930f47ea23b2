"""Names that every room uses in the same meaning."""

__all__ = ["SAMPLE_RATE", "SPLITS", "Seconds"]

Seconds = float
SAMPLE_RATE = 16_000  # Hz of all audio inside: the audio encoder's
SPLITS = ("train", "dev", "test")
