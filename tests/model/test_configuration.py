"""What the configuration accepts, and that it survives saving."""

import pytest

from sap2.model import SapQwen2AudioConfig

TEXT = {"model_type": "qwen2", "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 4}


def test_settings_survive_saving(tmp_path):
    config = SapQwen2AudioConfig(
        text_config=TEXT, window=4, aggregate="max", weighting="mean", windows="fixed", projection_rank=3,
        context_token_id=7,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    loaded = SapQwen2AudioConfig.from_pretrained(tmp_path)
    assert loaded.sap_fields() == config.sap_fields() and loaded.context_token_id == 7


def test_tying_follows_the_text_model():
    assert SapQwen2AudioConfig(text_config=TEXT | {"tie_word_embeddings": True}).tie_word_embeddings
    assert not SapQwen2AudioConfig(text_config=TEXT | {"tie_word_embeddings": False}).tie_word_embeddings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"window": 0}, "window is 0, must be at least 1"),
        ({"pooling_heads": 5}, "must divide the hidden size 32"),
        ({"aggregate": "sum"}, "aggregate is 'sum', must be one of mean, logsumexp, max"),
        ({"weighting": "audio"}, "weighting is 'audio'"),
        ({"windows": "word"}, "windows is 'word'"),
        ({"similarity": "euclid"}, "similarity is 'euclid'"),
        ({"projection_rank": 33}, "projection_rank is 33, must be 0 to the hidden size 32"),
    ],
)
def test_settings_out_of_range_name_themselves(setting, message):
    with pytest.raises(ValueError, match=message):
        SapQwen2AudioConfig(text_config=TEXT, **setting)
