"""PEFT's tests of models with adapters on the class of family.py; see tests/model/test_stock_suite.py.

Copied into a package beside PEFT's own test files, which the relative import names.
"""

import inspect

import pytest
import torch
from peft import IA3Config, LoraConfig

from sap2.model import LORA_TARGETS

from ..testing_common import PeftCommonTester
from . import family

# Adapters that change the output at once, on our targets (a pattern) and on the modules that PEFT's tests name.
CONFIGS = {
    "lora": (LoraConfig, {"r": 4, "init_lora_weights": False, "target_modules": LORA_TARGETS}),
    "dora": (LoraConfig, {"r": 4, "init_lora_weights": False, "use_dora": True, "target_modules": LORA_TARGETS}),
    "lora-by-name": (LoraConfig, {"r": 4, "init_lora_weights": False, "target_modules": ["q_proj", "v_proj"]}),
    "ia3": (
        IA3Config,
        {"init_ia3_weights": False, "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    ),
}
REQUIRED = ["self", "model_id", "config_cls", "config_kwargs"]  # parameters without a default
TESTS = [
    name
    for name, test in inspect.getmembers(PeftCommonTester, inspect.isfunction)
    if name.startswith("_test")
    and [each.name for each in inspect.signature(test).parameters.values() if each.default is each.empty] == REQUIRED
]


@pytest.fixture(scope="session")
def model_id(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    family.MODEL(family.config()).save_pretrained(folder)
    return str(folder)


class TestPeft(PeftCommonTester):
    transformers_class = family.MODEL

    def prepare_inputs_for_testing(self):
        return family.inputs(2)

    @pytest.mark.parametrize("config", CONFIGS)
    @pytest.mark.parametrize("name", TESTS)
    def test(self, model_id, name, config):
        torch.manual_seed(0)  # ours and the stock class are compared test by test
        cls, kwargs = CONFIGS[config]
        getattr(self, name)(model_id, cls, {**kwargs, "task_type": "CAUSAL_LM"})
