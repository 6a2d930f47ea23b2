"""Checks of a recording, its transcript and its list; each returns the reason for rejecting it, or None."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sap2.constants import Seconds
from sap2.data.entries import Entry
from sap2.errors import InputError
from sap2.manifest import MARKER, keyword_fault

if TYPE_CHECKING:
    from sap2.params import CheckSettings

__all__ = ["Measures", "audio_fault", "entry_fault", "id_fault", "measure", "speed_fault"]


_ID = re.compile(r"[\w+-][\w.+-]*(/[\w+-][\w.+-]*)*")
# Control characters but white space, halves of surrogate pairs, private use: bytes read with the wrong encoding.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff]")
LONGEST_ID = 200  # characters: file systems end at 255 bytes
FULL_SCALE = 0.99  # of the largest sample value: what clipping leaves behind, also after resampling


@dataclass(frozen=True)
class Measures:
    """Measurements of a recording, cached beside its audio so that it is decoded only once."""

    duration: Seconds
    loudness: float  # dB below full scale, root mean square of the loudest tenth of a second
    clipped: float  # share of samples at full scale
    sample_rate: int  # Hz, before resampling


def measure(samples: np.ndarray, sample_rate: int, original_rate: int) -> Measures:
    """Measure mono samples, `(samples,)` between -1 and 1."""
    block = sample_rate // 10
    whole = samples[: max(len(samples) // block, 1) * block]
    power = np.square(whole, dtype=np.float64).reshape(-1, min(block, len(whole))).mean(axis=1).max()
    return Measures(
        duration=round(len(samples) / sample_rate, 3),
        loudness=round(float(10 * np.log10(max(power, 1e-12))), 2),
        clipped=round(float((np.abs(samples) >= FULL_SCALE).mean()), 6),
        sample_rate=original_rate,
    )


def audio_fault(measures: Measures, checks: "CheckSettings") -> str | None:
    """Return why a recording is unusable regardless of its transcript, or None."""
    if measures.sample_rate < checks.min_sample_rate:
        return f"low sample rate: {measures.sample_rate} Hz, expected at least {checks.min_sample_rate}"
    if measures.loudness < checks.min_loudness:
        return f"silence: its loudest part has {measures.loudness:g} dB, expected at least {checks.min_loudness:g}"
    if measures.clipped > checks.max_clipped:
        return f"clipping: {measures.clipped:.1%} of samples at full scale, expected at most {checks.max_clipped:.1%}"
    return None


def speed_fault(text: str, duration: Seconds, checks: "CheckSettings") -> str | None:
    """Return why text and recording cannot belong together, or None."""
    slowest, fastest = checks.chars_per_second
    speed = len(text) / duration
    if slowest <= speed <= fastest:
        return None
    return f"text and audio do not match: {speed:.1f} characters a second, expected {slowest:g} to {fastest:g}"


def id_fault(id: str) -> str | None:
    """Return why an id cannot be used as the name of its audio file, or None.

    >>> id_fault("talk3/0007")
    >>> id_fault("../0007")
    'the path escapes the folder: ../0007'
    """
    if not id:
        return "the id is empty"
    if id.startswith("/") or ".." in id.split("/"):
        return f"the path escapes the folder: {id}"
    if not _ID.fullmatch(id) or len(id) > LONGEST_ID:
        return f"the id cannot name a file: {id[:LONGEST_ID]!r}, expected letters, digits and . _ + - /"
    return None


def entry_fault(entry: Entry, tokenizer: str | None = None) -> str | None:
    """Return why an entry is unusable, before reading its audio, or None.

    Args:
        tokenizer: The text may only have characters that this tokenizer can write; None = any.
    """
    if fault := id_fault(entry.id):
        return fault
    if not entry.text.strip():
        return "the transcript is empty"
    if MARKER.search(entry.text):
        return "a marker inside the transcript: markers belong to the prompt"
    if _CONTROL.search(entry.text):
        return "a control character inside the transcript: it was read with the wrong encoding, or is not text"
    if fault := next(filter(None, map(keyword_fault, entry.keywords)), None):
        return f"unusable keyword: {fault}"
    if tokenizer and (strange := [letter for letter in sorted(set(entry.text)) if not writable(letter, tokenizer)]):
        return f"letters outside the tokenizer: {' '.join(strange[:10])}"
    return None


@lru_cache(maxsize=1 << 16)
def writable(character: str, tokenizer: str) -> bool:
    """Return whether decoding a character's tokens gives it back; characters outside the vocabulary do not survive.

    Args:
        tokenizer: A tokenizer.json, or the folder that holds it.
    Raises: InputError: the file is missing.
    """
    loaded = _tokenizer(tokenizer)
    return character.isspace() or character in loaded.decode(loaded.encode(character, add_special_tokens=False).ids)


@lru_cache(maxsize=1)
def _tokenizer(path: str):
    from tokenizers import Tokenizer

    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise InputError(f"{file}: no such file; set prepare.checks.tokenizer to a folder with a tokenizer.json")
    return Tokenizer.from_file(str(file))
