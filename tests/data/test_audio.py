"""Audio of any format, rate and number of channels becomes 16 kHz mono; unusable files give a clear error."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sap2.data.audio import FORMATS, SAMPLE_RATE, load_audio, read_duration, read_sample_rate, save_audio
from sap2.errors import InputError


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg", "aiff"])
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_every_format_and_rate_becomes_the_same_tone(tmp_path, ending, rate):
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, tone(rate), rate)
    samples = load_audio(path)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=2500 if ending == "mp3" else 2)
    spectrum = np.abs(np.fft.rfft(samples[2000:14_000]))
    assert np.argmax(spectrum) * SAMPLE_RATE / 12_000 == pytest.approx(440, abs=2)
    assert np.abs(samples[2000:14_000]).max() == pytest.approx(0.5, abs=0.05)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "a.wav"
    left = tone(SAMPLE_RATE)
    soundfile.write(path, np.stack([left, -0.5 * left], axis=1), SAMPLE_RATE, subtype="FLOAT")
    assert load_audio(path) == pytest.approx(0.25 * left, abs=1e-6)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_saved_audio_loads_back(tmp_path, ending):
    path = tmp_path / "deep" / f"a.{ending}"
    save_audio(path, tone(SAMPLE_RATE))
    assert load_audio(path) == pytest.approx(tone(SAMPLE_RATE), abs=1e-4)
    first = path.read_bytes()
    save_audio(path, tone(SAMPLE_RATE))
    assert path.read_bytes() == first


def refuse(path, message, **bounds):
    with pytest.raises(InputError) as caught:
        load_audio(path, **bounds)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_missing_empty_and_folders_are_refused(tmp_path):
    refuse(tmp_path / "nothing.wav", "no such file")
    refuse(tmp_path, "is a folder")
    (tmp_path / "a.wav").touch()
    refuse(tmp_path / "a.wav", "the file is empty (0 bytes)")
    save_audio(tmp_path / "b.wav", np.zeros(0))
    refuse(tmp_path / "b.wav", "holds no samples")


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "m4a", "txt"])
def test_what_is_no_audio_is_refused(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    path.write_text("this is not audio, whatever its name says\n" * 20)
    refuse(path, "cannot be read as audio")


def test_an_unknown_format_names_the_way_out(tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(b"RIFF\0\0\1\0AVI LIST" + bytes(200))
    refuse(path, 'convert other formats first: ffmpeg -i "a.avi" "a.wav"')


@pytest.mark.parametrize("ending", ["raw", "pcm", "vox", "gsm"])
def test_headerless_samples_are_refused_with_the_way_out(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    path.write_bytes((tone(SAMPLE_RATE) * 32767).astype("<i2").tobytes())
    refuse(path, f"has no header with its sample rate and encoding, expected {FORMATS}; add one: ffmpeg -f s16le")


def test_a_text_called_au_is_not_read_as_samples(tmp_path):
    path = tmp_path / "a.au"
    path.write_text("libsndfile takes this for headerless u-law by its ending alone\n" * 200)
    refuse(path, "cannot be read as audio")


def test_a_wav_called_raw_is_read(tmp_path):
    save_audio(tmp_path / "a.wav", tone(SAMPLE_RATE))
    (tmp_path / "a.wav").rename(tmp_path / "a.raw")
    assert load_audio(tmp_path / "a.raw") == pytest.approx(tone(SAMPLE_RATE), abs=1e-4)


def test_refused_files_leave_no_file_open(tmp_path):
    path = tmp_path / "x.raw"
    path.write_bytes(b"\1\2" * 2000)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(InputError):
            load_audio(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files_are_refused(tmp_path, ending, share):
    path = tmp_path / f"a.{ending}"
    rng = np.random.default_rng(1)
    soundfile.write(path, rng.normal(0, 0.1, SAMPLE_RATE), SAMPLE_RATE)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match="truncated|cannot be read as audio"):
        load_audio(path)


def test_a_wav_cut_in_its_header_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    save_audio(path, tone(SAMPLE_RATE))
    path.write_bytes(path.read_bytes()[:30])
    refuse(path, "truncated")


def test_a_wav_written_to_a_pipe_is_read(tmp_path):
    """Such a writer cannot fill in the length: the data chunk says 0xFFFFFFFF."""
    path = tmp_path / "a.wav"
    save_audio(path, tone(SAMPLE_RATE))
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(load_audio(path)) == SAMPLE_RATE


def streamed(path: Path, sound: bytes, behind: bytes = b"") -> Path:
    """A WAV whose writer never came back to fill in the lengths: 0 bytes of sound, it says."""
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16, b"data", 0
    )
    path.write_bytes(header + sound + behind)
    return path


@pytest.mark.parametrize("silent", [0, SAMPLE_RATE])
def test_a_wav_that_announces_no_sound_is_read_to_its_end(tmp_path, silent):
    wave = tone(SAMPLE_RATE)
    wave[:silent] = 0  # zeros could be taken for empty chunks
    path = streamed(tmp_path / "a.wav", (wave * 32767).astype("<i2").tobytes())
    assert load_audio(path) == pytest.approx(wave, abs=1e-4)
    assert load_audio(tmp_path / "b.wav", content=path.read_bytes()) == pytest.approx(wave, abs=1e-4)
    assert (read_sample_rate(path), read_duration(path)) == (16_000, 1.0)


def test_a_wav_without_sound_but_with_a_comment_holds_none(tmp_path):
    refuse(streamed(tmp_path / "a.wav", b"", b"LIST\x0a\0\0\0INFOICMT\0\0"), "holds no samples")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    samples = tone(SAMPLE_RATE)
    samples[7] = value
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    refuse(tmp_path / "a.wav", "1 of 16000 samples are NaN or infinite")


def test_bounds_of_the_length_are_kept(tmp_path):
    save_audio(tmp_path / "a.wav", tone(SAMPLE_RATE, 0.5))
    refuse(tmp_path / "a.wav", "lasts 0.500 s, expected at least 1 s", min_duration=1.0)
    refuse(tmp_path / "a.wav", "lasts 0.5 s, expected at most 0.2 s", max_duration=0.2)
    assert len(load_audio(tmp_path / "a.wav", min_duration=0.5, max_duration=0.5)) == SAMPLE_RATE / 2


def test_compressed_hours_are_refused_without_decoding(tmp_path):
    import tracemalloc

    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 16_000, 8) as file:
        for _ in range(40):
            file.write(np.zeros((160_000, 8), dtype="int16"))
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(InputError, match=r"lasts 400.0 s, expected at most 5 s"):
        load_audio(path, max_duration=5)
    assert tracemalloc.get_traced_memory()[1] < 8e6, "5 s of 8 channels are 2.6 MB"
    tracemalloc.stop()


def test_a_rate_no_recorder_has_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), 400_000)
    with pytest.raises(InputError, match="400000 Hz, expected at most 192000"):
        load_audio(tmp_path / "a.wav")
