"""The server of `transcription_server`, and a recording to send."""

import numpy as np
import pytest
from transcription_server import running

from sap2.data.audio import save_audio


@pytest.fixture
def start():
    return running


@pytest.fixture(scope="package")
def recording(tmp_path_factory):
    """A second of sound, as WAV."""
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    save_audio(path, 0.1 * np.sin(np.arange(16_000) / 10))
    return path.read_bytes()
