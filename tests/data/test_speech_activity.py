"""Speech activity: no spans in silence, noise and notes, and no word of a recording is dropped."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sap2.data.audio import SAMPLE_RATE, load_audio
from sap2.data.speech import VOICES, Synthesiser
from sap2.data.speech_activity import speech_probabilities, speech_spans

SHARED = Path(__file__).parents[3] / "shared/data"
SECONDS = 6.0
TIME = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE


def noise(slope: float, seed: int = 0) -> np.ndarray:
    """Noise whose power falls with the frequency to the power of `slope`: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(TIME)))
    wave = np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(len(TIME)), 1 / len(TIME)) ** (slope / 2), len(TIME))
    return wave / np.abs(wave).max()


def note(hertz: float, seconds: float, harmonics: int = 1, decay: float = 0.4) -> np.ndarray:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, harmonics + 1) if hertz * k < 7900)
    return wave * np.minimum(time / 0.01, 1) * np.exp(-time / decay)


def chords() -> np.ndarray:
    roots = (110.0, 146.8, 164.8, 220.0, 130.8, 196.0)
    return np.concatenate([sum(note(root * step, 1.0, 8) for step in (1, 1.26, 1.5, 2)) for root in roots])


def melody(harmonics: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([note(220 * 2 ** (rng.integers(-12, 13) / 12), 0.25, harmonics) for _ in range(24)])


def dialling() -> np.ndarray:
    pairs = [(697, 1209), (770, 1336), (852, 1477), (941, 1633), (697, 1477), (941, 1209)] * 4
    tones = [np.sin(2 * np.pi * low * TIME[:2400]) + np.sin(2 * np.pi * high * TIME[:2400]) for low, high in pairs]
    return np.concatenate([np.r_[wave, np.zeros(1600)] for wave in tones])


def clicks(rate: int) -> np.ndarray:
    wave = np.zeros(len(TIME))
    wave[:: SAMPLE_RATE // rate] = 1
    return wave


def drums() -> np.ndarray:
    beat = np.concatenate([note(60, 0.25, 1, 0.05), 0.6 * noise(0)[:4000] * np.exp(-TIME[:4000] / 0.04)])
    return np.tile(beat, 12)


NOT_SPEECH = {
    "silence": np.zeros(len(TIME)),
    "dither": noise(0) / 32_768,
    "white noise": noise(0),
    "pink noise": noise(1),
    "brown noise": noise(2),
    "breathing of noise": noise(1) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * TIME)),
    "mains hum": sum(np.sin(2 * np.pi * 50 * k * TIME) / k for k in range(1, 9)),
    "mains hum in noise": sum(np.sin(2 * np.pi * 60 * k * TIME) / k for k in range(1, 9)) + 0.03 * noise(1),
    "low tone": np.sin(2 * np.pi * 200 * TIME),
    "high tone": np.sin(2 * np.pi * 1000 * TIME),
    "sawtooth": sum(np.sin(2 * np.pi * 110 * k * TIME) / k for k in range(1, 60)),
    "siren": np.sin(2 * np.pi * np.cumsum(700 + 300 * np.sin(np.pi * TIME)) / SAMPLE_RATE),
    "clicks": clicks(4),
    "fast clicks": clicks(100),
    "chords": chords(),
    "melody of sines": melody(1, 1),
    "melody of strings": melody(12, 2),
    "dialling": dialling(),
    "drums": drums(),
    "band": drums() / 2 + melody(12, 3) / 2 + chords() / 4,
}


@pytest.fixture(scope="module")
def voice():
    return Synthesiser()


@pytest.mark.parametrize("level", [0.003, 0.05, 0.9])
@pytest.mark.parametrize("name", NOT_SPEECH)
def test_no_speech_is_detected_in_silence(name, level):
    wave = NOT_SPEECH[name]
    peak = np.abs(wave).max()
    assert speech_spans((wave * level / max(peak, 1e-3)).astype(np.float32)) == []


@pytest.mark.parametrize("length", [0, 1, 100, 511, 513, 1600])
def test_the_shortest_recordings_hold_no_speech(length):
    wave = (0.1 * noise(0)[:length]).astype(np.float32)
    assert speech_spans(wave) == [] and len(speech_probabilities(wave)) == -(-length // 512)


def test_no_voice_is_lost_whatever_it_says(voice):
    for name in VOICES:
        for text in ("yes", "ask zorvan", "today we compare the large model with the theory"):
            wave = voice.speak(text, name)
            assert speech_spans(wave) == [(0.0, len(wave) / SAMPLE_RATE)], (name, text)


@pytest.mark.parametrize("level", [0.002, 0.05, 1.0])
def test_a_sentence_between_silences_is_a_single_span(voice, level):
    said = voice.speak("we turn to the results of the model", "en-us")
    silence = 1e-5 * np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE)
    wave = np.concatenate([silence, level * said, silence]).astype(np.float32)
    ((start, end),) = speech_spans(wave)
    length = len(said) / SAMPLE_RATE
    assert 3.0 < start <= 4.0 and 4.0 + length - 0.2 <= end < 5.0 + length


@pytest.mark.parametrize("name", ["pink noise", "band", "drums", "chords"])
def test_speech_between_music_or_noise_is_all_that_is_kept(voice, name):
    said = voice.speak("we turn to the results of the model", "en-us")
    other = (0.3 * NOT_SPEECH[name] / np.abs(NOT_SPEECH[name]).max()).astype(np.float32)
    spans = speech_spans(np.concatenate([other, said, other]))
    start, end = spans[0][0], spans[-1][1]
    before, length = len(other) / SAMPLE_RATE, len(said) / SAMPLE_RATE
    assert before - 3 < start <= before + 0.1 and before + length - 0.3 <= end < before + length + 3


def test_pauses_are_cut_out_and_short_ones_stay(voice):
    said = voice.speak("we turn to the results of the model", "en-us")
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    assert len(speech_spans(np.concatenate([said, pause, said]))) == 1
    spans = speech_spans(np.concatenate([said, *[pause] * 8, said]))
    assert len(spans) == 2 and spans[1][0] - spans[0][1] == pytest.approx(4 - 2 * 0.3, abs=0.6)


def test_padding_widens_a_span(voice):
    wave = np.concatenate(
        [np.zeros(32_000, np.float32), voice.speak("ask zorvan", "en-us"), np.zeros(32_000, np.float32)]
    )
    ((narrow, until),) = speech_spans(wave, padding=0.0)
    assert speech_spans(wave, padding=0.5) == [(pytest.approx(narrow - 0.5), pytest.approx(until + 0.5))]


def test_speech_activity_is_fast_and_needs_no_torch():
    wave = np.tile((0.1 * noise(1)).astype(np.float32), 20)
    speech_spans(wave[:SAMPLE_RATE])
    begun = time.process_time()
    speech_spans(wave)
    assert time.process_time() - begun < len(wave) / SAMPLE_RATE / 100
    code = (
        "import sys, numpy\n"
        "from sap2.data.speech_activity import speech_spans\n"
        "print(speech_spans(numpy.zeros(9999, numpy.float32)), 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[] False\n"


@pytest.mark.parametrize("name", ["silence", "noise", "tone"])
def test_the_cases_without_speech_give_no_span(name):
    path = SHARED / "cases/asr" / f"{name}.wav"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    assert speech_spans(load_audio(path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["commonvoice-v1-dev", "commonvoice-delta13-en", "librispeech-train-clean-5"])
def test_people_are_heard(corpus):
    folder = SHARED / "speech" / corpus
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    with (folder / "utterances.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    waves = [
        load_audio(folder / rows[place]["audio"]) for place in np.random.default_rng(77).permutation(len(rows))[:200]
    ]
    spans = [speech_spans(wave) for wave in waves]
    assert sum(not result for result in spans) <= 1
    kept = sum(end - start for result in spans for start, end in result) / (sum(map(len, waves)) / SAMPLE_RATE)
    assert 0.75 < kept <= 1.0
