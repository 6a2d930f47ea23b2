"""Transformers' model and generation tests on the class of family.py; see tests/model/test_stock_suite.py.

Copied into a package beside transformers' own test files, which the relative imports name.
"""

import unittest

import torch

from sap2.model.modeling import SapModel

from ..generation.test_utils import GenerationTesterMixin
from ..test_modeling_common import ModelTesterMixin
from . import family


class Tester:
    """What the mixins ask a model tester for."""

    batch_size, is_training = 3, True
    num_hidden_layers, num_attention_heads, hidden_size = 2, 4, 32
    text_config, audio_config = family.CONFIG["text_config"], family.CONFIG["audio_config"]
    pad_token_id = family.PAD
    seq_length = encoder_seq_length = family.LENGTH

    def __init__(self, case):
        self.parent = case

    def get_config(self):
        return family.config()

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), family.inputs(self.batch_size)


class StockTest(ModelTesterMixin, GenerationTesterMixin, unittest.TestCase):
    all_model_classes = (family.MODEL,)
    _is_composite = True
    test_torch_exportable = False

    def setUp(self):
        torch.manual_seed(0)  # ours and the stock class are compared test by test
        self.model_tester = Tester(self)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        """Add labels, as the mixin does for the classes that transformers' lists name."""
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels:
            inputs.setdefault("labels", torch.zeros_like(inputs["input_ids"]))
        return inputs


assert issubclass(family.FAMILY.model.headless, SapModel)
