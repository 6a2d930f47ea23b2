"""The real base's outer shape: its vocabulary, its files, and what stock makes of the same prompt."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from real_shape import TEXT_TEMPLATE, VOCABULARY, stock_processor
from tiny import tone

from sap2.errors import ModelError
from sap2.inference.decoding import answers
from sap2.model import load_model, load_processor
from sap2.prompts import recognition_prompt

QUESTION = "What's that sound?"
# What transformers' integration test of Qwen2-Audio-7B-Instruct expects, tests/models/qwen2_audio, with one frame.
STOCK_IDS = [
    151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198, 151644, 872, 198, 14755, 220, 16, 25, 220,
    151647, 151646, 151648, 198, 3838, 594, 429, 5112, 30, 151645, 198, 151644, 77091, 198,
]  # fmt: skip


def test_tokenizer_gives_the_published_ids(real_base):
    content = [{"type": "audio", "audio_url": ""}, {"type": "text", "text": QUESTION}]
    stock = stock_processor(real_base)
    text = stock.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)
    assert stock.tokenizer(text)["input_ids"] == STOCK_IDS
    assert load_processor(real_base)([QUESTION], frames=[1])["input_ids"][0].tolist() == STOCK_IDS


def test_audio_template_overrides_the_tokenizers_template(real_base, tmp_path):
    """As stock has it: the template of the processor's class, unless the processor itself was saved with another."""
    hub = Path(shutil.copytree(real_base, tmp_path / "hub"))
    settings = hub / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": TEXT_TEMPLATE}))
    assert load_processor(hub)([QUESTION], frames=[1])["input_ids"][0].tolist() == STOCK_IDS


def test_a_template_without_speech_is_refused(real_base, tmp_path):
    hub = Path(shutil.copytree(real_base, tmp_path / "hub"))
    (hub / "chat_template.jinja").write_text(TEXT_TEMPLATE)
    with pytest.raises(ModelError, match=r"chat template .* 0 <\|AUDIO\|> for a recording, expected 1; delete"):
        load_processor(hub)
    (hub / "chat_template.jinja").write_text("{{ messages.absent.field }}")
    with pytest.raises(ModelError, match="chat template cannot be applied"):
        load_processor(hub)


@pytest.mark.parametrize("end", ["<|endoftext|>", "<|im_end|>"])
def test_answers_end_with_the_text_or_the_turn(real_base, end):
    """The base's generation_config names both; its tokenizer's own end is <|im_end|>."""
    model, processor = load_model(real_base), load_processor(real_base)
    last = processor.tokenizer.convert_tokens_to_ids(end)
    with torch.no_grad():  # whatever was read, the next token is the end
        model.lm_head.weight.zero_()
        model.model.language_model.norm.weight.zero_()
        model.lm_head = torch.nn.Linear(32, VOCABULARY, dtype=torch.bfloat16)
        model.lm_head.weight.zero_()
        model.lm_head.bias.copy_(torch.nn.functional.one_hot(torch.tensor(last), VOCABULARY))
    (answer,) = answers(model, processor, [tone(0.5)], recognition_prompt(False), scored=True, max_new_tokens=8)
    assert (answer.text, answer.pieces) == ("", ())


def test_shards_load_with_markers_in_spare_rows(real_base):
    assert len(list(real_base.glob("model-*-of-00002.safetensors"))) == 2
    model, processor = load_model(real_base), load_processor(real_base)
    assert model.get_input_embeddings().num_embeddings == VOCABULARY
    assert processor.tokenizer.convert_tokens_to_ids(list(processor.context_tokens)) == [151649, 151650, 151651]
