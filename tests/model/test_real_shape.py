"""The real base's outer shape: its vocabulary, its files, and what stock makes of the same prompt."""

from real_shape import VOCABULARY, stock_processor

from sap2.model import load_model, load_processor

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


def test_shards_load_whole_with_markers_in_spare_rows(real_base):
    assert len(list(real_base.glob("model-*-of-00002.safetensors"))) == 2
    model, processor = load_model(real_base), load_processor(real_base)
    assert model.get_input_embeddings().num_embeddings == VOCABULARY
    assert processor.tokenizer.convert_tokens_to_ids(list(processor.context_tokens)) == [151649, 151650, 151651]
