"""Speech synthesis by eSpeak NG, for the embedded corpus and the embedded base.

The library and its voices come from the `espeakng-loader` wheel and are called through ctypes; no root rights are
needed. Names are synthesised from phonemes (`[[k'eIlIn]]`), so that all spellings of a name sound exactly alike.
"""

import ctypes
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from sap2.constants import SAMPLE_RATE
from sap2.errors import SapError

__all__ = ["SAMPLE_RATE", "VOICES", "Synthesiser", "augment", "plain_phoneme"]

ENGINE_RATE = 22_050  # Hz, eSpeak NG's output
ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland")
VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m7", "+f1", "+f2", "+f3")
VOICES = tuple(accent + variant for accent in ACCENTS for variant in VARIANTS)

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: hand the samples to a callback before returning
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_UTF8, _PHONEMES = 1, 0x100  # espeakCHARS_UTF8, espeakPHONEMES
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@lru_cache(maxsize=1)
def _engine() -> tuple[ctypes.CDLL, list[np.ndarray], object]:
    """Return the library, the buffer its callback fills, and the callback (kept alive); one engine per process."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = Path(espeakng_loader.get_data_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), 0)
    if rate != ENGINE_RATE:
        raise SapError(f"eSpeak NG did not start with {data} (returned {rate}); reinstall espeakng-loader")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    chunks: list[np.ndarray] = []

    def collect(samples, count, _events) -> int:
        if samples and count:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    # Noise and jitter depend on these generators, and on counters that only a new process resets.
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    ctypes.CDLL(None).srand(1)
    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    return library, chunks, callback


class Synthesiser:
    """Synthesise text or phonemes.

    The engine's jitter depends on its earlier calls: the same sequence of calls in a new process gives the same
    samples, but the same call later gives slightly different samples.
    """

    def __init__(self) -> None:
        self._library, self._chunks, _ = _engine()

    def speak(self, text: str, voice: str, rate: int = 175, pitch: int = 50, pitch_range: int = 50) -> np.ndarray:
        """Speak `text`, whose `[[…]]` parts are eSpeak phonemes.

        Args:
            voice: One of `VOICES`.
            rate: Words per minute, 80 to 450.
            pitch, pitch_range: 0 to 100.
        Returns: Mono float32 samples in [-1, 1] at `SAMPLE_RATE` Hz.
        Raises: SapError: the voice is unknown or nothing was rendered.
        """
        self._set_voice(voice)
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8 | _PHONEMES, None, None)
        if not self._chunks:
            raise SapError(f"eSpeak NG rendered nothing for {text!r} with voice {voice}")
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768.0
        return _resample(samples)

    def phonemes(self, text: str, voice: str = "en-us") -> list[str]:
        """Return eSpeak's phoneme mnemonics of plain `text`, without stress and pauses."""
        self._set_voice(voice)
        pointer = ctypes.c_char_p(text.encode())
        parts = []
        while pointer.value:
            spoken = self._library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, ord("_") << 8)
            parts += re.split(r"[_\s]+", spoken.decode())
        return [mark for mark in (re.sub(r"[',%=|;:]+$|^[',%=|]+", _keep_length, part) for part in parts) if mark]

    def _set_voice(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SapError(f"eSpeak NG has no voice {voice!r}; expected one of {', '.join(VOICES[:4])}, …")


def plain_phoneme(mark: str) -> str:
    """A phoneme without eSpeak's variants of it: t2 becomes t, r- becomes r."""
    return re.sub(r"(?<=.)[\d#\-^*?]+$", "", mark)


def _keep_length(match: re.Match) -> str:
    """Remove stress marks but keep a vowel's length mark (`i:`)."""
    return ":" if ":" in match.group() else ""


def _resample(samples: np.ndarray) -> np.ndarray:
    from scipy.signal import resample_poly

    return resample_poly(samples, 320, 441).astype(np.float32)


def augment(samples: np.ndarray, rng: np.random.Generator, snr: tuple[float, float] = (15.0, 40.0)) -> np.ndarray:
    """Add coloured noise at a random signal-to-noise ratio (dB) and scale to a random peak level.

    Returns: float32 samples whose peak lies between 0.1 and 0.9.
    """
    noise: np.ndarray = rng.standard_normal(len(samples)).astype(np.float32)
    if rng.random() < 0.5:
        noise = np.convolve(noise, np.ones(8, np.float32) / 8, mode="same")
    ratio = 10 ** (-rng.uniform(*snr) / 20)
    power = float(np.sqrt(np.mean(samples**2)) / (np.sqrt(np.mean(noise**2)) + 1e-9))
    mixed = samples + noise * power * ratio
    return (mixed / (np.abs(mixed).max() + 1e-9) * rng.uniform(0.1, 0.9)).astype(np.float32)
