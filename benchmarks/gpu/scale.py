"""Sizes of a full run and of a `--tiny` run."""

from dataclasses import dataclass

BASE_NAMES = ("qwen2-audio-7b", "qwen3-asr-0.6b", "qwen3-asr-1.7b")  # defined in bases.py


@dataclass(frozen=True)
class Scale:
    """Sizes of a run.

    Args:
        rows, seconds: Utterances per training batch, and seconds of speech per utterance.
        listed: Keywords per list of stage 1 in training: the mean of the 7B profile's `list_sizes`.
        lists: Keywords per list in decoding.
        decode_rows, decode_tokens: `batch_size` and `batch_tokens` of `pruning` and `inference` in params.yaml.
        selected, transcribed: Tokens per answer of stages 1 and 2, as `sap2 plan` assumes for `seconds`.
        repeats: Maximum number of timed repetitions.
        matrix: Side of the square matrices whose product is timed.
        layers: Number of layers of the float32 comparison.
    """

    rows: int
    seconds: float
    listed: int
    lists: tuple[int, ...]
    decode_rows: int
    decode_tokens: int
    selected: int
    transcribed: int
    repeats: int
    matrix: int
    layers: int


FULL = Scale(
    rows=32, seconds=10.0, listed=105, lists=(100, 2000), decode_rows=16, decode_tokens=16_384, selected=8,
    transcribed=33, repeats=5, matrix=8192, layers=4,
)  # fmt: skip
TINY = Scale(
    rows=2, seconds=0.6, listed=6, lists=(5, 20), decode_rows=2, decode_tokens=400, selected=3,
    transcribed=4, repeats=1, matrix=256, layers=1,
)  # fmt: skip
