"""Audio is read from videos; files without audio, or that refer to other files, are errors."""

import numpy as np
import pytest
from tiny import tone
from videos import video

from sap2.data.audio import load_audio, save_audio
from sap2.errors import InputError


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_audio_of_a_video_is_read(tmp_path, ending):
    wave = tone(2.0)
    audio = load_audio(video(tmp_path / f"a.{ending}", wave))
    assert audio.dtype == np.float32 and abs(len(audio) - len(wave)) < 3000
    loud = np.abs(np.fft.rfft(audio[:32_000], 32_000)), np.abs(np.fft.rfft(wave, 32_000))
    assert np.corrcoef(*loud)[0, 1] > 0.9


def test_audio_at_the_models_rate_is_unchanged(tmp_path):
    wave = tone(1.0)
    assert np.array_equal(load_audio(video(tmp_path / "a.mov", wave, "pcm_f32le")), wave)


def test_audio_files_are_still_read(tmp_path):
    save_audio(tmp_path / "a.wav", tone(1.0))
    assert len(load_audio(tmp_path / "a.wav")) == 16_000


def test_files_without_audio_or_with_references_are_errors(tmp_path):
    with pytest.raises(InputError, match="has no audio track"):
        load_audio(video(tmp_path / "a.mp4"))
    save_audio(tmp_path / "secret.wav", tone(1.0))
    (tmp_path / "b.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.wav\n#EXT-X-ENDLIST\n")
    (tmp_path / "c.mp4").write_text("ffconcat version 1.0\nfile secret.wav\n")
    for name in ("b.mp4", "c.mp4"):
        with pytest.raises(InputError, match="Format not recognised"):
            load_audio(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        load_audio(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="expected at least 9 s"):
        load_audio(video(tmp_path / "d.mp4", tone(1.0)), min_duration=9)
    with pytest.raises(InputError, match="expected at most 0.5 s"):
        load_audio(video(tmp_path / "e.mp4", tone(4.0)), max_duration=0.5)
    with pytest.raises(InputError, match="1 of 16000 samples are NaN"):
        load_audio(video(tmp_path / "f.mkv", np.r_[tone(1.0)[1:], np.float32("nan")], "pcm_f32le"))
