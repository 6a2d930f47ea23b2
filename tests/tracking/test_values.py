"""Values for MLflow are flat, within its limits, and without secrets."""

import math

import pytest

from sap2.tracking.values import KEY_LENGTH, VALUE_LENGTH, flat_params, numbers, public, safe_key


def test_nested_params_become_dotted_names():
    assert flat_params({"pruner": {"epochs": 1.0, "list_sizes": (5, 10)}, "profile": None}) == {
        "pruner.epochs": "1.0",
        "pruner.list_sizes": "(5, 10)",
        "profile": "None",
    }


@pytest.mark.parametrize("key", ["token", "hf_token", "api_key", "password", "DB_PASSWORD", "secret", "access_key"])
def test_secrets_are_hidden(key):
    assert flat_params({"section": {key: "abc123"}}) == {f"section.{key}": "***"}


@pytest.mark.parametrize("key", ["max_new_tokens", "batch_tokens", "context_token_id", "tokens", "keywords"])
def test_settings_that_only_sound_secret_are_kept(key):
    assert flat_params({"section": {key: 128}}) == {f"section.{key}": "128"}


def test_passwords_in_urls_are_hidden():
    assert public("see postgresql://me:pw@db/x and https://h/y") == "see postgresql://***@db/x and https://h/y"


def test_long_values_and_names_are_cut_to_the_limits_and_say_so():
    (value,) = flat_params({"list": "x" * 7000}).values()
    assert len(value) == VALUE_LENGTH and value.endswith("… (7000 characters)")
    assert flat_params({"list": "x" * VALUE_LENGTH}) == {"list": "x" * VALUE_LENGTH}
    assert len(safe_key("k" * 300)) == KEY_LENGTH


def test_characters_mlflow_refuses_become_underscores():
    assert safe_key("data/test.jsonl: a-b_c d") == "data/test.jsonl: a-b_c d"
    assert safe_key("Ä²(x)=1") == "Ä²_x__1"


def test_only_figures_are_metrics():
    metrics = {"none": {"wer": 1, "recall": None, "ok": True, "ci": [1, 2]}, "definition": "deep-bias"}
    assert numbers(metrics) == {"none/wer": 1.0}
    assert math.isnan(numbers({"x": math.nan})["x"])
