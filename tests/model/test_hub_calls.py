"""Our classes as Hugging Face's: registered by one import, called as stock is, in a pipeline, from a saved folder."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from real_shape import stock_processor
from tiny import tone
from transformers import AutoModelForMultimodalLM, AutoProcessor, pipeline

from sap2.errors import InputError
from sap2.model import load_model, load_processor
from sap2.prompts import recognition_prompt

PROMPT = recognition_prompt(True)
FILLED = PROMPT.replace("<|endofcontext|>", "Kathryn, Maier<|endofcontext|>")


def chat(wave, text: str) -> list[dict]:
    return [{"role": "user", "content": [{"type": "audio", "audio": wave}, {"type": "text", "text": text}]}]


def rendered(processor, text: str) -> str:
    return processor.apply_chat_template(chat("", text), add_generation_prompt=True, tokenize=False)


def same(ours, theirs) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_rendered_chats_give_the_inputs_of_their_prompts(base):
    processor, waves = load_processor(base), [tone(0.5), tone(0.8, 1)]
    lists = [["Kathryn", "Maier"], ["Myer"]]
    expected = processor([PROMPT] * 2, lists, waves)
    assert same(processor(text=[rendered(processor, PROMPT)] * 2, audio=waves, keywords=lists), expected)
    expected = processor([PROMPT], lists[:1], waves[:1])
    assert same(processor(text=rendered(processor, PROMPT), audio=waves[0], keywords=lists[0]), expected)
    assert same(
        processor(text=rendered(processor, FILLED), audio=waves[:1], return_tensors="pt", padding=True), expected
    )


def test_chat_templates_tokenise_with_keywords_and_recordings(base):
    processor, wave = load_processor(base), tone(0.5)
    expected = processor([PROMPT], [["Kathryn", "Maier"]], [wave])
    options = {"tokenize": True, "return_dict": True, "add_generation_prompt": True}
    assert same(processor.apply_chat_template(chat(wave, FILLED), **options), expected)
    given = processor.apply_chat_template(
        [chat(wave, PROMPT)] * 2, processor_kwargs={"keywords": [["Kathryn", "Maier"], []]}, **options
    )
    assert same(given, processor([PROMPT] * 2, [["Kathryn", "Maier"], []], [wave, wave]))


def test_prompts_without_a_list_are_stocks_token_by_token(real_base):
    text, wave = "What is said?", tone(1.0)
    ours = load_processor(real_base).apply_chat_template(
        chat(wave, text), tokenize=True, return_dict=True, add_generation_prompt=True
    )
    stock = stock_processor(real_base).apply_chat_template(
        chat(wave, text), tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    assert torch.equal(ours["input_ids"], stock["input_ids"])
    assert torch.equal(ours["attention_mask"], stock["attention_mask"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": None}, r"0 recordings for 1 <\|AUDIO\|> in the text"),
        ({"audio": [np.zeros(8000, np.float32)] * 2}, r"2 recordings for 1 <\|AUDIO\|> in the text"),
        ({"keywords": [["a"], ["b"]]}, "2 keyword lists for 1 texts"),
        ({"truncation": True}, "truncation is True, which this processor does not support"),
        ({"sampling_rate": 8000}, "sampling_rate is 8000"),
        ({"images": ["a.png"]}, "images is"),
    ],
)
def test_what_stock_could_not_follow_is_refused(base, change, message):
    processor = load_processor(base)
    given = {"text": [rendered(processor, PROMPT)], "audio": [tone(0.5)], "keywords": [["Maier"]]}
    with pytest.raises(InputError, match=message):
        processor(**given | change)
    with pytest.raises(InputError, match="keywords between its markers"):
        processor(**given | {"text": [rendered(processor, FILLED)]})


def test_importing_registers_the_classes_with_auto_classes(base, tmp_path):
    model, processor = load_model(base, window=3), load_processor(base, window=3)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())
    code = (
        "import sys, sap2.model\n"
        "from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor\n"
        "kinds = AutoConfig, AutoModelForMultimodalLM, AutoProcessor\n"
        "print(*(type(kind.from_pretrained(sys.argv[1])).__name__ for kind in kinds))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-3:] == [
        "SapQwen2AudioConfig", "SapQwen2AudioForConditionalGeneration", "SapQwen2AudioProcessor",
    ]  # fmt: skip
    inputs = AutoProcessor.from_pretrained(tmp_path)([PROMPT], [["Kathryn", "Maier"]], [tone(0.5)])
    loaded = AutoModelForMultimodalLM.from_pretrained(tmp_path).eval()
    assert loaded.config.window == 3
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)


def test_a_pipeline_answers_as_generate_does(base, tmp_path):
    model, processor = load_model(base), load_processor(base)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    options = {"max_new_tokens": 6, "do_sample": False}
    inputs = processor([PROMPT], [["Kathryn", "Maier"]], [tone(0.5)])
    length = inputs["input_ids"].shape[1]
    expected = processor.tokenizer.decode(model.generate(**inputs, **options)[0, length:], skip_special_tokens=True)
    recogniser = pipeline("any-to-any", model=str(tmp_path))
    answer = recogniser(chat(tone(0.5), FILLED), return_full_text=False, generate_kwargs=options)
    assert expected and answer[0]["generated_text"] == expected
    given = recogniser(
        chat(tone(0.5), PROMPT), return_full_text=False, generate_kwargs=options,
        processor_kwargs={"keywords": [["Kathryn", "Maier"]]},
    )  # fmt: skip
    assert given[0]["generated_text"] == expected
