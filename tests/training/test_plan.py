"""The plan: weights are those of the model that would be trained, steps those that would be made."""

import doctest
import math

import pytest
from tiny import build_tiny_base

import sap2.training.plan as module
from sap2.errors import ModelError, ParamsError
from sap2.model import load_model, load_processor
from sap2.params import BaseSection, LoraSection, ModelSection, Params, PruningSection, RecogniserSection, TrainSection
from sap2.training.adapters import attach, trainable_count
from sap2.training.plan import plan_training
from sap2.training.shapes import base_shape, count

HUB = "Qwen/Qwen2-Audio-7B-Instruct"


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {
        known: build_tiny_base(folder / str(known), with_context_tokens=known, tie=known, positions=100)
        for known in (True, False)
    }


def test_examples_in_docstrings_run():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("frozen", "rank"),
    [({}, 0), ({"freeze_llm": True}, 0), ({"freeze_vit": False, "cache_encoder": False}, 0), ({}, 3)],
)
def test_weights_are_those_of_the_model_that_would_be_trained(bases, known, frozen, rank):
    section, lora = TrainSection(**frozen), LoraSection(rank=2)
    base = load_model(bases[known], projection_rank=rank)
    sizes = count(base_shape(str(bases[known]), rank), section, lora)
    # Rows that a base without the markers gets in both tables, and the markers' trained offsets.
    added = 0 if known else 3 * 32 * 2 + 2 * 32
    assert sizes.frozen == sum(weight.numel() for weight in base.parameters()) - added
    assert sizes.trainable == trainable_count(attach(base, load_processor(bases[known]), section, lora))


def test_the_published_shape_is_qwen2_audios():
    """The weights of the published shape; the hub shows 8.4 billion for the checkpoint."""
    assert count(base_shape(HUB), TrainSection(), LoraSection()).frozen == 8_397_094_912


def test_the_papers_settings_are_planned_without_a_download():
    section = {"batch_size": 32, "nproc": 8, "bf16": True, "cache_encoder": False}
    params = Params(
        base=BaseSection(path=HUB),
        pruner=TrainSection(**section),
        recogniser=RecogniserSection(**section, epochs=2),
        lora=LoraSection(rank=8, alpha=32, dropout=0.05),
    )
    plan = plan_training(params, gpus=4, utterances=1000)
    pruner, recogniser = plan.stages
    assert (pruner.batch, pruner.steps, recogniser.steps) == (128, math.ceil(1000 / 128), math.ceil(2000 / 128))
    assert pruner.section.nproc == 4 and pruner.hours[0] < pruner.hours[1]
    again = plan_training(params.model_copy(update={"pruner": TrainSection(**section, gradient_checkpointing=True)}), 4,
                          utterances=1000).stages[0]  # fmt: skip
    assert 1.3 < again.hours[0] / pruner.hours[0] < 1.6
    assert 16 < pruner.memory["zero2"].weights / 1e9 < 18
    shown = str(plan)
    for text in ("8,397,094,912 frozen, 20,039,680 trainable", "pruner: 4 GPUs × 32", "  * zero2", "assumptions:"):
        assert text in shown


def test_a_token_budget_makes_more_steps_of_smaller_batches():
    plain = TrainSection(batch_size=32, nproc=8, bf16=True)
    bounded = plain.model_copy(update={"batch_tokens": 8192, "deepspeed": "zero3-offload"})
    params = Params(base=BaseSection(path=HUB), pruner=plain, recogniser=RecogniserSection())
    wide = plan_training(params, utterances=10_000).stages[0]
    narrow = plan_training(params.model_copy(update={"pruner": bounded}), utterances=10_000)
    assert narrow.stages[0].rows == pytest.approx(8192 / wide.mean.tokens)
    assert narrow.stages[0].steps == math.ceil(10_000 / (8 * narrow.stages[0].rows)) > wide.steps
    tokens = {"wide": 32 * wide.longest.tokens, "narrow": 8192}
    ratio = narrow.stages[0].memory["zero2"].activations / wide.memory["zero2"].activations
    assert ratio == pytest.approx(tokens["narrow"] / tokens["wide"])
    for text in ("8 GPUs × 32 utterances of at most 8,192 tokens", "  * zero3-offload", "in the host's memory"):
        assert text in str(narrow)


def test_methods_with_a_single_model_plan_a_single_training():
    base = BaseSection(path=HUB)
    pruner, recogniser = plan_training(Params(base=base), utterances=1000).stages
    (pc,) = plan_training(Params(base=base, model=ModelSection(method="pc")), utterances=1000).stages
    (jpi,) = plan_training(Params(base=base, model=ModelSection(method="jpi")), utterances=1000).stages
    assert (pc.name, jpi.name) == ("recogniser", "recogniser")
    assert pc.mean.context == pruner.mean.context > recogniser.mean.context
    assert (pc.mean.answer, jpi.mean.answer) == (
        recogniser.mean.answer,
        recogniser.mean.answer + pruner.mean.answer - 1,
    )


def test_slower_speech_is_planned_up_to_the_encoders_limit():
    params = Params(
        base=BaseSection(path=HUB),
        pruner=TrainSection(speed=[0.5], cache_encoder=False),
        recogniser=RecogniserSection(),
    )
    pruner, recogniser = plan_training(params, utterances=1000).stages
    assert pruner.mean.frames == 2 * recogniser.mean.frames
    assert pruner.longest.frames == recogniser.longest.frames == 750


def test_utterances_are_measured_if_base_and_manifest_exist(corpus):
    params = Params(base=BaseSection(path=str(corpus / "base")))
    plan = plan_training(params, manifest=corpus / "train.jsonl")
    for stage in plan.stages:
        assert stage.utterances == 24 and "measured on 24 utterances" in stage.measured
        assert stage.longest.tokens >= stage.mean.tokens > stage.mean.frames > 5


@pytest.mark.parametrize("option", ["gpus", "utterances", "tflops"])
def test_figures_below_their_bound_are_refused(option):
    with pytest.raises(ParamsError, match=f"--{option} is 0, must be above 0"):
        plan_training(Params(), **{option: 0})


def test_an_unknown_hub_id_says_what_to_do():
    with pytest.raises(ModelError, match="base.path is Some/Model: no such folder, .* give its folder, or plan with"):
        base_shape("Some/Model")


def test_pruning_the_train_split_and_planning_are_counted():
    section = TrainSection(batch_size=32, nproc=8, bf16=True, cache_encoder=False, list_sizes=(10, 200))
    pruning = PruningSection(train=True, max_list=200, threshold=None, first_pass=None)
    params = Params(
        base=BaseSection(path=HUB), pruner=section, pruning=pruning, model=ModelSection(tagging=0.0),
        recogniser=RecogniserSection(batch_size=32, nproc=8, bf16=True, cache_encoder=False),
    )  # fmt: skip

    def hours(gpus: int = 8, tagging: float = 0.0, **settings) -> tuple[float, float] | None:
        changed = params.model_copy(
            update={
                "pruning": pruning.model_copy(update=settings),
                "model": ModelSection(tagging=tagging),
            }
        )
        return plan_training(changed, gpus, utterances=170_000).pruning

    fewest, most = hours()
    assert 0.1 < fewest < most < 1.5, "hours of 8 GPUs"
    assert hours(gpus=1) == pytest.approx((8 * fewest, 8 * most))
    assert hours(train=False) is None
    assert hours(max_list=50)[0] > 1.3 * fewest, "a list in parts is several prompts"
    assert hours(tagging=1.0)[1] < most, "tags need no answer"
    text = str(plan_training(params, 8, utterances=1_090_000))
    assert "planning of the batches before it: 1 min" in text
    assert "pruning of the train split, for recogniser.lists: 8 GPUs, 1,090,000 utterances, " in text
