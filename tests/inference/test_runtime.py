"""What `runtime` sets reaches the model and leaves the text as it is; what a device cannot do is an error."""

import shutil
from functools import wraps
from importlib.util import find_spec
from types import SimpleNamespace

import peft
import pytest
import torch
from tiny import build_tiny_base, tone
from transformers import DynamicCache, StaticCache

from sap2.errors import ModelError
from sap2.inference import load_pruner, load_recogniser, runtime
from sap2.inference.identity import identity
from sap2.inference.parts import Scoring
from sap2.model import CACHE, LORA_TARGETS, load_model, load_processor, save_adapter
from sap2.model.modeling import SapForConditionalGeneration
from sap2.settings import RecogniserSettings, RuntimeSettings, join_settings, save_part

LISTS = [["Kathryn", "Maier", "Zbigniew"], ["a"], []]
WAVES = [tone(0.6, 1), tone(1.1, 3), tone(0.8, 4)]
# Stage 1 by its answers, so that both stages decode.
PLAIN = {"pruning": {"first_pass": None, "speech_only": False, "max_new_tokens": 12, "threshold": None}}
PLAIN["inference"] = {"speech_only": False, "max_new_tokens": 12}
needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny base and two random adapters without tags."""
    root = tmp_path_factory.mktemp("models")
    build_tiny_base(root / "base", positions=100)
    for seed, name in enumerate(("pruner", "recogniser")):
        torch.manual_seed(seed)
        model = load_model(root / "base", tagging=0.0)
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=LORA_TARGETS, init_lora_weights=False))
        save_adapter(adapted, load_processor(root / "base"), root / name)
    return root


def load(folders, **own):
    settings = RecogniserSettings().with_changes(PLAIN | {"runtime": own}, "test")
    return load_recogniser(*(folders / part for part in ("base", "pruner", "recogniser")), settings)


def texts(recogniser) -> list:
    return [(written.text, written.scores) for written in recogniser.recognise(WAVES, LISTS)]


@pytest.fixture(scope="module")
def expected(folders):
    return texts(load(folders))


def same(got, expected):
    assert [text for text, _ in got] == [text for text, _ in expected]
    for (_, scores), (_, wanted) in zip(got, expected, strict=True):
        assert scores == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_attention_gives_the_same_text(folders, expected, attention):
    recogniser = load(folders, attention=attention)
    assert recogniser.transcriber.stage.model.config._attn_implementation == attention
    same(texts(recogniser), expected)


@pytest.fixture
def caches(monkeypatch):
    """The kinds of caches that forward passes with a cache are given."""
    kinds = []
    forward = SapForConditionalGeneration.forward

    @wraps(forward)
    def noting(self, *args, **kwargs):
        kinds.append(type(kwargs.get(CACHE)))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(SapForConditionalGeneration, "forward", noting)
    return kinds


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("beams", [1, 2])
def test_static_caches_are_used_and_give_the_same_text(folders, caches, static, beams):
    recogniser = load(folders)
    both = {"pruning": {"num_beams": beams}, "inference": {"num_beams": beams}}
    wanted = texts(recogniser.with_settings(recogniser.settings.with_changes(both, "test")))
    caches.clear()
    loaded = load(folders, static_cache=static)
    same(texts(loaded.with_settings(loaded.settings.with_changes(both, "test"))), wanted)
    assert set(caches) == {StaticCache if static else DynamicCache}


@pytest.mark.slow
def test_compiled_decoding_gives_the_same_text(folders, expected, monkeypatch):
    """Both adapters, by the backend `aot_eager`: inductor's C++ of this tiny model takes minutes to compile."""
    monkeypatch.setattr(runtime, "BACKEND", "aot_eager")
    monkeypatch.setattr(runtime, "CPU_MODE", None)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    torch.compiler.reset()
    frames = torch._dynamo.utils.counters["frames"]
    frames.clear()
    recogniser = load(folders, compile=True)
    same(texts(recogniser), expected)
    same(texts(recogniser), expected)  # with the longest cache so far from the start
    compiled = frames["ok"]
    assert compiled, "nothing was compiled"
    same(texts(recogniser), expected)
    assert frames["ok"] == compiled, "compiled again for shapes that were compiled before"


@needs_bitsandbytes
@pytest.mark.parametrize("kind", ["4bit", "8bit"])
def test_a_quantised_recogniser_writes_text(folders, kind):
    recogniser = load(folders, quantization=kind)
    base = recogniser.transcriber.stage.model.get_base_model()
    assert not base.model.multi_modal_projector.linear.weight.is_floating_point()
    assert len(texts(recogniser)) == len(WAVES)


@pytest.mark.parametrize(
    ("own", "device", "missing", "message"),
    [
        ({"attention": "flash_attention_2"}, None, "", "which needs a GPU, .* on cpu; set runtime.attention to sdpa"),
        ({"attention": "flash_attention_2"}, "cuda", "flash", "needs flash-attn.* pip install flash-attn"),
        ({"quantization": "4bit"}, None, "bitsandbytes", "4bit needs bitsandbytes.* pip install bitsandbytes"),
        ({"compile": True, "quantization": "8bit"}, None, "", "bitsandbytes are not compiled; set either"),
        ({"compile": True}, None, "compiler", r"needs a C\+\+ compiler .* install g\+\+, or set runtime.compile"),
        ({"compile": True}, "cuda", "triton", "needs triton on a GPU.* pip install triton"),
    ],
)
def test_what_a_device_cannot_do_is_refused(folders, monkeypatch, own, device, missing, message):
    monkeypatch.setattr(runtime, "is_flash_attn_2_available", lambda: missing != "flash")
    monkeypatch.setattr(runtime, "find_spec", lambda name: None if name == missing else object())
    monkeypatch.setattr("sap2.model.loading.find_spec", lambda name: None if name == missing else object())
    monkeypatch.setattr(shutil, "which", lambda name: None if missing == "compiler" else name)
    with pytest.raises(ModelError, match=message):
        load_pruner(folders / "base", folders / "pruner", runtime=RuntimeSettings(**own), device=device)


def test_flash_attention_on_float32_weights_is_refused():
    model = SimpleNamespace(dtype=torch.float32, config=SimpleNamespace(name_or_path="models/base"))
    with pytest.raises(ModelError, match="models/base: .* needs float16 or bfloat16, .* float32; set"):
        runtime.set_decoding(RuntimeSettings(attention="flash_attention_2"), model, "cuda")


def test_loaded_models_keep_their_runtime(folders):
    recogniser = load(folders)
    changed = recogniser.settings.with_changes({"runtime": {"static_cache": True}}, "test")
    with pytest.raises(ModelError, match="were loaded with .*static_cache=False.* load them again"):
        recogniser.with_settings(changed)


def test_only_quantisation_is_part_of_the_identity(folders):
    speed = {"attention": "eager", "static_cache": True}
    assert identity(load(folders, **speed)) == identity(load(folders))
    plain, quick, rounded = (
        RecogniserSettings(runtime=RuntimeSettings(**own)) for own in ({}, speed, {"quantization": "4bit"})
    )
    assert plain.deciding_text() == quick.deciding_text() != rounded.deciding_text()
    parts = [Scoring(s.pruning, folders / "base", folders / "pruner", s.runtime) for s in (plain, quick, rounded)]
    digests = [part.digest() for part in parts]
    assert digests[0] == digests[1] != digests[2]


def test_settings_of_stages_with_other_weights_do_not_join(tmp_path):
    pruned, results = tmp_path / "pruned", tmp_path / "results"
    pruned.mkdir()
    results.mkdir()
    ran = RecogniserSettings()
    quick = RuntimeSettings(static_cache=True)
    save_part(pruned / "settings.json", ran.pruning, RuntimeSettings())
    save_part(results / "settings.json", ran.inference, quick)
    assert join_settings(pruned, results).runtime == quick
    save_part(results / "settings.json", ran.inference, RuntimeSettings(quantization="8bit"))
    with pytest.raises(ModelError, match="runtime.quantization is none and 8bit, expected the same"):
        join_settings(pruned, results)
