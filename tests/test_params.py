"""params.yaml: every profile is valid, and errors name key, file and the nearest valid key."""

from pathlib import Path

import pytest

from sap2.errors import ParamsError
from sap2.params import Params, Section, load_params, profile_names

SHIPPED = Path(__file__).parent.parent / "params.yaml"
SECTIONS = [name for name in Params.model_fields if name != "profile"]


@pytest.fixture(autouse=True)
def no_profile_variable(monkeypatch):
    monkeypatch.delenv("SAP2_PROFILE", raising=False)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_shipped_profile_parses():
    assert profile_names(SHIPPED) == [
        "default",
        "test",
        "mini-librispeech",
        "qwen3-asr-0.6b",
        "qwen3-asr-1.7b",
        "qwen2-audio-7b",
    ]
    for name in profile_names(SHIPPED):
        assert load_params(SHIPPED, name).profile == name


def test_every_profile_names_every_section():
    """dvc.yaml tracks `profiles.NAME.SECTION`, which must exist."""
    from ruamel.yaml import YAML

    profiles = YAML(typ="safe").load(SHIPPED.read_text(encoding="utf-8"))["profiles"]
    assert {name: sorted(profile) for name, profile in profiles.items()} == {
        name: sorted(SECTIONS) for name in profile_names(SHIPPED)
    }


def test_the_file_spells_out_every_key_of_the_default():
    from ruamel.yaml import YAML

    content = YAML(typ="safe").load(SHIPPED.read_text(encoding="utf-8"))
    for section in SECTIONS:
        assert (
            list(content[section]) == list(getattr(Params(), section).__class__.model_fields)[: len(content[section])]
        )
        assert set(content[section]) == set(getattr(Params(), section).__class__.model_fields)


def flat(values, prefix=""):
    """Yield every dotted key and its value, including nested sections."""
    for key, value in values.items():
        yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(f"{prefix}{key}", value)]


def test_defaults_of_code_and_file_are_the_same():
    shipped, code = load_params(SHIPPED, "default"), Params()
    assert dict(flat(code.model_dump(mode="json"))) == dict(flat(shipped.model_dump(mode="json")))


def test_an_empty_file_means_the_default_profile(tmp_path):
    assert load_params(write(tmp_path, "{}\n")) == load_params(SHIPPED, "default")


def test_a_section_without_nulls_is_the_same_section():
    params = load_params(SHIPPED, overrides=["pruning.threshold=null", "inference.max_segment=null"])
    sent = params.without_nulls()
    assert (sent["pruning"]["threshold"], sent["inference"]["max_segment"]) == ("null", "null")
    assert "prefilter" not in sent["pruning"] and sent["prepare"]["checks"]["min_sample_rate"] == 8000
    assert Params.model_validate(sent) == params


def test_the_7b_profile_holds_the_papers_settings():
    params = load_params(SHIPPED, "qwen2-audio-7b")
    assert (params.model.window, params.model.heads) == (2, 4)
    assert (params.lora.rank, params.lora.alpha, params.lora.dropout) == (8, 32, 0.05)
    for train in (params.pruner, params.recogniser):
        assert (train.batch_size, train.nproc, train.grad_accum) == (32, 8, 1)
        assert (train.speed, train.spec_augment, train.batch_tokens) == ([1.0], None, None)
        assert (train.learning_rate, train.epochs, train.deepspeed) == (1e-4, 1.0, "zero2")
        assert (train.max_length, train.save_steps, train.save_total_limit) == (4096, 1000, 2)
        assert train.freeze_vit and not train.freeze_llm and not train.freeze_aligner
    assert params.pruner.list_sizes[1] == params.pruning.max_list


def test_a_profile_overrides_only_what_differs(tmp_path):
    path = write(tmp_path, "inference: {num_beams: 3, batch_size: 5}\nprofiles: {fast: {inference: {num_beams: 1}}}\n")
    assert load_params(path).inference.num_beams == 3
    fast = load_params(path, "fast")
    assert (fast.inference.num_beams, fast.inference.batch_size) == (1, 5)


def test_argument_beats_variable_beats_file(tmp_path, monkeypatch):
    path = write(tmp_path, "profile: a\nprofiles: {a: {}, b: {}, c: {}}\n")
    assert load_params(path).profile == "a"
    monkeypatch.setenv("SAP2_PROFILE", "b")
    assert load_params(path).profile == "b"
    assert load_params(path, "c").profile == "c"


def test_overrides_come_last_and_are_yaml(tmp_path):
    path = write(tmp_path, "profiles: {fast: {inference: {num_beams: 1}}}\n")
    overrides = ["inference.num_beams=4", "inference.contexts=[none]", "pruner.learning_rate=1e-3", "pruner.bf16=true"]
    params = load_params(path, "fast", overrides)
    assert params.inference.num_beams == 4
    assert params.inference.contexts == ["none"]
    assert (params.pruner.learning_rate, params.pruner.bf16) == (1e-3, True)


def test_keys_of_nested_sections_are_overridden_separately(tmp_path):
    path = write(
        tmp_path,
        "pruner: {spec_augment: {freq_masks: 1}, cache_encoder: false}\n"
        "profiles: {a: {pruner: {spec_augment: {time_masks: 1}}}}\n",
    )
    result = load_params(path, "a", ["pruner.spec_augment.freq_width=9"]).pruner.spec_augment
    assert (result.freq_masks, result.time_masks, result.freq_width) == (1, 1, 9)
    assert load_params(path, "a", ["pruner.spec_augment=null"]).pruner.spec_augment is None


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resources: {tolerations: [{kee: gpu}]}", "unknown key resources.tolerations.0.kee; the nearest valid key is"),
        ("inferense: {num_beams: 1}", "unknown key inferense; the nearest valid key is inference"),
        ("inference: {num_beam: 1}", "unknown key inference.num_beam; the nearest valid key is inference.num_beams"),
        ("prepare: {window: 3}", "unknown key prepare.window; the nearest valid key is model.window"),
        ("unspoken_share: 0.1", "unknown key unspoken_share; the nearest valid key is pruner.unspoken_share"),
        ("inference: {num_beams: 0}", "inference.num_beams is 0, must be greater than or equal to 1"),
        ("pruner: {learning_rate: fast}", "pruner.learning_rate is 'fast', must be a valid number"),
        ("pruner: {learning_rate: .nan}", "pruner.learning_rate is nan, must be a finite number"),
        ("recogniser: {lists: gold}", "recogniser.lists is 'gold', must be 'oracle', 'predicted' or 'corrupted'"),
        (
            "recogniser: {lists: predicted}\npruning: {train: false}",
            "yaml: recogniser.lists is predicted: set pruning.train",
        ),
        ("pruner: {list_sizes: [9, 3]}", "pruner.list_sizes is [9, 3], must be [fewest, most]"),
        ("resources: {training_nodes: 2, checkpoints: null}", "training_nodes above 1 needs a volume"),
        ("inference: {contexts: [none, none]}", "names a context twice"),
        ("prepare: {min_duration: 5, max_duration: 2}", "min_duration 5.0 must be below max_duration 2.0"),
        ("pruner: {freeze_llm: true, freeze_aligner: true}", "pruner: freeze_llm and freeze_aligner are both true"),
        ("pruner: {freeze_vit: false, cache_encoder: true}", "cache_encoder needs freeze_vit: true"),
        ("pruner: {speed: [1.1], cache_encoder: true}", "pruner: cache_encoder keeps the encoder's output"),
        ("pruner: {spec_augment: {}, cache_encoder: true}", "set cache_encoder to false, or speed to [1.0]"),
        ("pruner: {speed: [0.1]}", "pruner.speed is [0.1], must be different factors between 0.5 and 2.0"),
        ("pruner: {speed: []}", "pruner.speed is [], List should have at least 1 item"),
        ("pruner: {spec_augment: {freq_masks: -1}}", "pruner.spec_augment.freq_masks is -1, must be greater than"),
        (
            "pruner: {spec_augment: {mask: 1}}",
            "unknown key pruner.spec_augment.mask; the nearest valid key is pruner.spec_augment.",
        ),
        (
            "pruning: {threshold: -1, max_false_alarms: 1}",
            "pruning: max_false_alarms sets the threshold, which is already set",
        ),
        ("pruner: {batch_tokens: 3}", "pruner.batch_tokens is 3, must be greater than or equal to 16"),
        ("pruner: {early_stopping: 0}", "pruner.early_stopping is 0, must be greater than or equal to 1"),
        ("pruner: {deepspeed: zero4}", "must be 'zero2', 'zero3', 'zero2-offload', 'zero3-offload' or 'none'"),
        ("recogniser: {unspoken_share: 0.9}", "no_context_share 0.15 and unspoken_share 0.9 are parts of the same"),
        ("prepare: 3", "prepare is 3, expected keys and values below it"),
        ("- 1", "got list, expected sections"),
        ("prepare: {seed: 1, seed: 2}", "not valid YAML"),
        ("prepare: {", "not valid YAML"),
    ],
)
def test_an_error_names_file_key_and_fix(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_in_a_profile_names_the_profile(tmp_path):
    path = write(tmp_path, "profiles: {fast: {inference: {num_beams: 0}, base: {paht: x}}}\n")
    with pytest.raises(ParamsError, match=r"params.yaml: profiles.fast: unknown key base.paht; .* base.path"):
        load_params(path, "fast")
    path = write(tmp_path, "profiles: {fast: {inference: {num_beams: 0}}}\n")
    with pytest.raises(ParamsError, match=r"params.yaml: profiles.fast: inference.num_beams is 0"):
        load_params(path, "fast")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inference.num_beams", "expected KEY=VALUE"),
        ("inference.num_beam=2", "--set inference.num_beam=2: unknown key inference.num_beam"),
        ("inference.num_beams=0", "--set inference.num_beams=0: inference.num_beams is 0"),
        ("inference.num_beams=[", "the value is not valid YAML"),
        ("profile=test", "a profile is chosen with --profile test"),
    ],
)
def test_an_error_in_an_override_names_the_override(override, message):
    with pytest.raises(ParamsError) as caught:
        load_params(SHIPPED, overrides=[override])
    assert message in str(caught.value)


def test_unknown_profile_lists_the_known():
    with pytest.raises(ParamsError, match="no profile 'tset'; it has default, test, mini-librispeech, qwen3-asr-0.6b,"):
        load_params(SHIPPED, "tset")


def test_a_missing_file_error_names_the_option(tmp_path):
    with pytest.raises(ParamsError, match=r"nothing.yaml: no such file; .* --params FILE"):
        load_params(tmp_path / "nothing.yaml")


def test_sections_are_immutable():
    params = load_params(SHIPPED)
    with pytest.raises(ValueError, match="frozen"):
        params.inference.num_beams = 2
    assert all(isinstance(getattr(params, name), Section) for name in SECTIONS)
