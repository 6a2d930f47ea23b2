"""Kept encoder states are the encoder's, and are used for as long as nothing they depend on changes."""

import pytest
import torch
from tiny import tone

from sap2.data.audio import load_audio, save_audio
from sap2.errors import InputError
from sap2.model import load_model, load_processor
from sap2.training import encoder_cache
from sap2.training.encoder_cache import EncodedSpeech


@pytest.fixture(scope="module")
def base(corpus):
    return load_model(corpus / "base"), load_processor(corpus / "base")


def recordings(folder, count=5):
    paths = [folder / f"{number}.wav" for number in range(count)]
    for number, path in enumerate(paths):
        save_audio(path, tone(0.3 + number % 3 * 0.4, seed=number))
    return paths


def test_states_are_those_of_the_recording_alone(tmp_path, base, monkeypatch):
    monkeypatch.setattr(encoder_cache, "SHARD", 2)
    model, processor = base
    paths = recordings(tmp_path)
    encoded = EncodedSpeech(tmp_path / "kept", model, processor, paths)
    assert encoded.fill(torch.device("cpu")) == 3
    for index, path in enumerate(paths):
        states, mask = model.encode_speech(**processor.features([load_audio(path)]))
        torch.testing.assert_close(encoded.states(index).float(), states[0][mask[0]], atol=5e-3, rtol=0)
        assert encoded.frames(index) == int(mask.sum())


def test_only_what_is_new_is_encoded(tmp_path, base, monkeypatch):
    monkeypatch.setattr(encoder_cache, "SHARD", 2)
    paths = recordings(tmp_path)
    first = EncodedSpeech(tmp_path / "kept", *base, paths)
    assert first.fill(torch.device("cpu"), rank=0, world=2) + first.fill(torch.device("cpu"), rank=0, world=1) == 3
    assert EncodedSpeech(tmp_path / "kept", *base, paths).fill(torch.device("cpu")) == 0
    save_audio(paths[4], tone(0.5, seed=9))
    changed = EncodedSpeech(tmp_path / "kept", *base, paths)
    assert changed.files[:2] == first.files[:2] and changed.fill(torch.device("cpu")) == 1


def test_a_missing_recording_is_named(tmp_path, base):
    with pytest.raises(InputError, match="gone.wav: no such audio file"):
        EncodedSpeech(tmp_path, *base, [tmp_path / "gone.wav"])
