"""Settings of a recogniser: equal values in params and file, for every reader."""

import doctest
import json

import pytest

import sap2.settings
from sap2.errors import ModelError, ParamsError
from sap2.params import load_params, override_settings, profile_names
from sap2.settings import (
    Prefilter,
    PrunerSettings,
    RecogniserSettings,
    TranscriberSettings,
    parse_settings,
    read_settings,
)


def test_examples_in_docstrings_run():
    assert doctest.testmod(sap2.settings).failed == 0


@pytest.mark.parametrize("profile", profile_names())
def test_params_become_settings_and_come_back_from_the_file(profile, tmp_path):
    params = load_params(profile=profile)
    settings = RecogniserSettings.from_params(params)
    assert type(settings.pruning) is PrunerSettings and type(settings.inference) is TranscriberSettings
    for section, own in (("pruning", settings.pruning), ("inference", settings.inference)):
        assert own.model_dump().items() <= getattr(params, section).model_dump().items()
    settings.save(tmp_path / "settings.json")
    assert read_settings(tmp_path / "settings.json") == settings


def test_a_change_of_any_key_is_listed():
    before = RecogniserSettings().with_changes({"pruning": {"first_pass": {}}}, "test")
    assert before.differences(before) == []
    changes = ["pruning.first_pass.tag=1.5", "pruning.threshold=-3", "inference.batch_size=2"]
    after = override_settings(before, changes)
    assert sorted(after.differences(before)) == [
        "inference.batch_size 2 instead of 16", "pruning.first_pass.tag 1.5 instead of 0.4",
        f"pruning.threshold -3 instead of {'none' if before.pruning.threshold is None else before.pruning.threshold}",
    ]  # fmt: skip
    assert after.pruning.first_pass.likeness == before.pruning.first_pass.likeness
    assert override_settings(after, ["pruning.first_pass=null"]).pruning.first_pass is None


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        (
            "inference.beams=2",
            ModelError,
            "--set inference.beams=2: unknown key inference.beams; the nearest",
        ),
        ("threshold=-1", ModelError, "unknown key threshold; the nearest valid key is pruning.threshold"),
        ("tracking.experiment=x", ModelError, "unknown key tracking; the nearest valid key is"),
        ("pruning.threshold=0.5", ModelError, "pruning.threshold is 0.5, Input should be less than or equal to 0"),
        ("inference.max_segment=0.5", ModelError, "inference.max_segment is 0.5"),
        ("pruning.first_pass.tags=1", ModelError, "the nearest valid key is pruning.first_pass.tag"),
        ("inference.num_beams", ParamsError, "expected KEY=VALUE"),
    ],
)
def test_an_invalid_setting_is_refused_by_name(override, error, message):
    with pytest.raises(error) as caught:
        override_settings(RecogniserSettings(), [override])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"pruning": {"treshold": -1}}', "unknown key pruning.treshold; the nearest valid key is pruning.threshold"),
        ('{"decoding": {}, "max_lists": 3}', "unknown key max_lists; 0.1.0 had decoding, first_pass, max_list"),
        ('{"decoding": {"beams": 3}}', "unknown key inference.beams; the nearest valid key"),
    ],
)
def test_a_damaged_file_is_named_with_its_key(tmp_path, content, message):
    path = tmp_path / "settings.json"
    path.write_text(content)
    with pytest.raises(ModelError) as caught:
        read_settings(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


def test_settings_of_0_1_0_keep_their_meaning():
    """Stage 1 without its own search decoded as stage 2; a missing key has the default of 0.1.0."""
    settings = parse_settings({"decoding": {"rescoring": 2.0, "num_beams": 3}, "first_pass": {"tag": 0.5}}, "version 1")
    assert (settings.pruning.num_beams, settings.inference.num_beams, settings.inference.rescoring) == (3, 3, 2.0)
    assert (settings.pruning.first_pass.tag, settings.pruning.max_list, settings.pruning.threshold) == (0.5, 200, None)
    assert (settings.inference.max_segment, settings.inference.segment_overlap) == (None, 1.0)
    own = {"decoding": {"num_beams": 3}, "pruning_decoding": {"num_beams": 2}, "max_segment": 3.0}
    settings = parse_settings(own, "version 1")
    assert (settings.pruning.num_beams, settings.inference.num_beams, settings.inference.max_segment) == (2, 3, 3.0)
    assert parse_settings(json.loads(json.dumps(settings.model_dump())), "version 2") == settings


def test_a_prefilter_number_means_the_phonetic_method():
    """Files and commands from before the methods had names keep their meaning."""
    old = parse_settings({"pruning": {"prefilter": 20}, "inference": {}}, "version 1")
    assert old.pruning.prefilter == Prefilter(method="phonetic", keep=20)
    assert parse_settings({"decoding": {}, "prefilter": 20}, "version 1").pruning.prefilter == old.pruning.prefilter
    changed = override_settings(RecogniserSettings(), ["pruning.prefilter.keep=50"])
    assert changed.pruning.prefilter == Prefilter(method="ctc", keep=50)
    for wrong in (0, True, {"keep": 0}, {"method": "sound"}):
        with pytest.raises(ModelError, match="pruning.prefilter"):
            parse_settings({"pruning": {"prefilter": wrong}}, "version 1")


def test_the_summary_is_a_single_line_without_speed_keys():
    line = RecogniserSettings().with_changes({"pruning": {"threshold": -1.6}}, "test").summary()
    assert line.startswith("pruning: max_new_tokens 128, num_beams 1") and "; inference: " in line
    assert "threshold -1.6" in line and "batch" not in line and "\n" not in line
