"""Recordings in the containers of phones, browsers and meetings are read like WAV: same mixing, limits and errors."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from tiny import tone as noise
from videos import recording, video

from sap2.data.audio import SAMPLE_RATE, load_audio, read_duration, read_sample_rate, save_audio
from sap2.errors import InputError

CASES = Path(__file__).parents[3] / "shared/data/cases/asr"
# ending: codec, rate in Hz, FFmpeg's name of the format where the ending does not tell it
KINDS = {
    "m4a": ("aac", 44_100, None),
    "mp4": ("aac", 48_000, None),
    "mov": ("alac", 44_100, None),
    "webm": ("libopus", 48_000, None),
    "mkv": ("libmp3lame", 44_100, None),
    "3gp": ("libopencore_amrnb", 8000, None),
    "aac": ("aac", 44_100, "adts"),
    "amr": ("libopencore_amrnb", 8000, "amr"),
    "wma": ("wmav2", 44_100, "asf"),
    "mp3": ("libmp3lame", 44_100, None),
}
SIZED = ("m4a", "mp4", "mov", "webm", "mkv", "3gp", "wma")  # formats that announce their size


def tone(rate: int, seconds: float = 2.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def make(folder: Path, ending: str, seconds: float = 2.0) -> Path:
    codec, rate, format = KINDS[ending]
    return recording(folder / f"a.{ending}", tone(rate, seconds), codec, rate, format)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def refused(path: Path, **bounds) -> str:
    with pytest.raises(InputError) as caught:
        load_audio(path, **bounds)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message


def test_every_container_becomes_the_same_tone(tmp_path, kind):
    samples = load_audio(make(tmp_path, kind))
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE, abs=0.15 * SAMPLE_RATE)
    middle = samples[4000:28_000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) * SAMPLE_RATE / 24_000 == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.2)


def test_the_content_tells_the_container_not_the_ending(tmp_path, kind):
    path = make(tmp_path, kind)
    whole = load_audio(path)
    named = tmp_path / "b.wav"
    shutil.copy(path, named)
    assert np.array_equal(load_audio(named), whole)
    assert np.array_equal(load_audio(tmp_path / "c", content=path.read_bytes()), whole)


def test_channels_of_a_container_are_averaged(tmp_path):
    left = tone(SAMPLE_RATE)
    path = recording(tmp_path / "a.mov", np.stack([left, -0.5 * left]), "pcm_f32le")
    assert load_audio(path) == pytest.approx(0.25 * left, abs=1e-6)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f64le"])
def test_samples_of_every_width_keep_their_level(tmp_path, codec):
    path = recording(tmp_path / "a.mkv", tone(SAMPLE_RATE), codec)
    assert load_audio(path) == pytest.approx(tone(SAMPLE_RATE), abs=0.01)


def test_lengths_are_bounded_as_those_of_wav_are(tmp_path, kind):
    path = make(tmp_path, kind)
    assert "expected at least 9 s" in refused(path, min_duration=9)
    assert "s, expected at most 0.5 s; cut it into shorter pieces" in refused(path, max_duration=0.5)
    assert read_sample_rate(path) == KINDS[kind][1]
    assert read_duration(path) == pytest.approx(2, abs=0.15)


def test_no_more_is_decoded_than_the_limit_allows(tmp_path):
    import tracemalloc

    path = recording(tmp_path / "long.m4a", np.zeros(900 * 8000, np.float32), "aac", 8000)
    tracemalloc.start()
    assert "lasts 900.1 s, expected at most 5 s" in refused(path, max_duration=5)
    assert tracemalloc.get_traced_memory()[1] < 4e6, "5 s at 16 kHz are 0.3 MB, 900 s 58"
    tracemalloc.stop()


def test_a_stretch_of_a_container_is_that_part_of_it(tmp_path, kind):
    codec, rate, format = KINDS[kind]
    sweep = (0.5 * np.sin(2 * np.pi * np.cumsum(np.linspace(200, 3000, 6 * rate)) / rate)).astype(np.float32)
    path = recording(tmp_path / f"a.{kind}", sweep, codec, rate, format)
    whole, part = load_audio(path), load_audio(path, start=3.0, end=4.0)
    assert len(part) == pytest.approx(SAMPLE_RATE, abs=SAMPLE_RATE // 100)
    # A codec's state differs a little after a jump; a millisecond beside would be half a period.
    expected = whole[3 * SAMPLE_RATE :][: len(part)]
    lags = [np.corrcoef(part[200:-200], np.roll(expected, lag)[200:-200])[0, 1] for lag in range(-24, 25)]
    assert max(lags) > 0.98 and abs(int(np.argmax(lags)) - 24) <= 16, "times of Matroska are whole milliseconds"
    assert "cannot read from 5 s to 9 s of a recording of" in refused(path, start=5.0, end=9.0)
    assert "cannot read from 8 s to 9 s of a recording of" in refused(path, start=8.0, end=9.0)


@pytest.mark.parametrize("ending", SIZED)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_containers_are_refused(tmp_path, ending, share):
    path = make(tmp_path, ending)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "truncated" in refused(path)


def test_a_truncated_container_with_its_index_first_is_refused(tmp_path):
    path = recording(tmp_path / "a.m4a", tone(16_000), "aac", movflags="faststart")
    path.write_bytes(path.read_bytes()[:-500])
    assert "truncated: holds" in refused(path)


def test_a_live_recording_without_a_length_is_read(tmp_path):
    path = recording(tmp_path / "a.webm", tone(48_000), "libopus", 48_000, live="1")
    assert len(load_audio(path)) == pytest.approx(2 * SAMPLE_RATE, abs=2000)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_containers_give_samples_or_our_error(tmp_path, kind, seed):
    path = make(tmp_path, kind)
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    rng = np.random.default_rng(seed)
    content[rng.integers(0, len(content), len(content) // 20)] = rng.integers(0, 256, len(content) // 20)
    path.write_bytes(content.tobytes())
    try:
        assert np.isfinite(load_audio(path, max_duration=600)).all()
    except InputError as error:
        assert str(error).startswith(f"{path}: ")


def test_a_codec_that_is_not_known_is_refused(tmp_path):
    path = make(tmp_path, "3gp")
    path.write_bytes(path.read_bytes().replace(b"samr", b"zzzz"))
    assert "its audio codec is unknown" in refused(path)


def test_a_damaged_index_sends_the_reader_nowhere(tmp_path):
    path = make(tmp_path, "wma")
    content = path.read_bytes()
    for at in range(16, 600, 24):
        path.write_bytes(content[:at] + b"\xff" * 8 + content[at + 8 :])
        try:
            load_audio(path, max_duration=60)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")


def test_noise_behind_a_signature_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    for number, begin in enumerate((b"\0\0\0\x20ftypM4A ", b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")):
        path = tmp_path / f"{number}.m4a"
        path.write_bytes(begin + rng.bytes(2000))
        assert "cannot be read as audio" in refused(path) or "truncated" in refused(path)


def test_a_container_without_sound_is_refused(tmp_path):
    assert refused(video(tmp_path / "a.mp4")).endswith("has no audio track, expected audio")


@pytest.mark.parametrize(
    "script", ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"]
)
def test_no_playlist_leads_to_another_file(tmp_path, script):
    save_audio(tmp_path / "secret.wav", noise(1.0))
    (tmp_path / "a.mp4").write_text(script.format("secret.wav"))
    assert "Format not recognised" in refused(tmp_path / "a.mp4")


def mp3(path: Path, wave: np.ndarray, **options: str) -> Path:
    return recording(path, wave, "libmp3lame", 16_000, None, **options)


def test_an_mp3_is_read_to_its_end_whatever_its_header_says(tmp_path):
    path = mp3(tmp_path / "a.mp3", noise(53.0))
    content = bytearray(path.read_bytes())
    at = max(content.find(b"Xing"), content.find(b"Info"))
    frames = struct.unpack_from(">I", content, at + 8)[0]
    struct.pack_into(">I", content, at + 8, frames * 30 // 53)
    path.write_bytes(content)
    assert len(load_audio(path)) / SAMPLE_RATE == pytest.approx(53, abs=0.2)
    assert read_duration(path) == pytest.approx(53, abs=0.2)
    assert "lasts more than 30 s, expected at most 30 s" in refused(path, max_duration=30)


def test_an_mp3_without_a_header_keeps_all_its_sound(tmp_path):
    wave = noise(40.0)
    wave[: 20 * SAMPLE_RATE] *= 1e-3  # the length that the first frames' rate would give is another
    path = mp3(tmp_path / "a.mp3", wave, write_xing="0", abr="1")
    heard = load_audio(path)
    assert len(heard) / SAMPLE_RATE == pytest.approx(40, abs=0.2)
    assert np.abs(heard[-10 * SAMPLE_RATE :]).mean() > 0.01


def test_tags_around_an_mp3_are_no_damage(tmp_path):
    path = mp3(tmp_path / "a.mp3", tone(16_000))
    path.write_bytes(path.read_bytes() + b"TAG" + b"a title".ljust(125, b"\0"))
    assert len(load_audio(path)) == pytest.approx(2 * SAMPLE_RATE, abs=2500)


@pytest.mark.parametrize("name", ["gen.m4a", "gen.webm", "gen-video.mp4", "gen-zero-header.wav"])
def test_the_cases_are_read(name):
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not here")
    assert len(load_audio(CASES / name)) / SAMPLE_RATE == pytest.approx(6.0, abs=0.05)


def test_the_headerless_case_is_refused():
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not here")
    assert "has no header" in refused(CASES / "x.raw")
