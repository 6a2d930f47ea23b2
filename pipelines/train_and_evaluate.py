"""Pipeline of all stages in dvc.yaml, from `prepare` to `register`; then the version is tested and promoted.

Each step has the sections of params.yaml it reads as parameters, so that with caching a changed section re-runs exactly
the steps that depend on it.
"""

import json
from collections.abc import Callable
from typing import Any, Literal

from kfp import dsl
from kfp.dsl import PipelineTask

from components import flow as steps
from pipelines.resources import CHECKPOINTS, check_processes, configure
from pipelines.trainjob import trainjob
from sap2.params import Params

__all__ = ["NAME", "build"]

NAME = "sap2-train-and-evaluate"


def build(params: Params):
    """Build the pipeline for a profile: its sections are the parameters' defaults, `resources` is fixed.

    Raises: ParamsError: a training's processes and accelerators do not match.
    """
    default = params.without_nulls()
    resources = params.resources
    train_pruner, train_recogniser = _training(params, "pruner"), _training(params, "recogniser")
    # Do not cache if a folder's content or the hub's newest revision may change under the same name.
    same_corpus = params.prepare.source == "lectures"
    same_lists = not params.lists.files()
    same_base = params.base.path == "embedded" or params.base.revision is not None

    @dsl.pipeline(name=NAME, description="Two-stage contextual speech recognition, from corpus to champion.")
    def train_and_evaluate(
        profile: str = params.profile,
        prepare: dict = default["prepare"],
        lists: dict = default["lists"],
        base: dict = default["base"],
        model: dict = default["model"],
        lora: dict = default["lora"],
        pruner: dict = default["pruner"],
        pruning: dict = default["pruning"],
        recogniser: dict = default["recogniser"],
        inference: dict = default["inference"],
        runtime: dict = default["runtime"],
        evaluation: dict = default["evaluation"],
        gate: dict = default["gate"],
        tracking: dict = default["tracking"],
        checkpoints: str = CHECKPOINTS,
        host: str = "",
    ):
        """Two-stage contextual speech recognition: train, score, register, and promote if the gate holds.

        Args:
            profile: Name of the params' profile, logged with the run.
            prepare: Section `prepare` of params.yaml: the corpus.
            lists: Section `lists`: where keyword lists come from, and how long they are.
            base: Section `base`: the model both stages start from.
            model: Section `model`: pooling of the keyword list.
            lora: Section `lora`: the adapters.
            pruner: Section `pruner`: training of stage 1.
            pruning: Section `pruning`: decoding of stage 1.
            recogniser: Section `recogniser`: training of stage 2.
            inference: Section `inference`: decoding of stage 2.
            runtime: Section `runtime`: how the models are run.
            evaluation: Section `evaluation`: scoring.
            gate: Section `gate`: requirements on a new champion.
            tracking: Section `tracking`: experiment and model in MLflow.
            checkpoints: Folder on the mounted volume, which outlives a pod.
            host: Address of Kubeflow's pages, for links in messages; set by `sap2 pipeline submit`.
        """
        end = steps.report_end(pipeline=NAME, profile=profile, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, host=host)
        configure(end, resources, "light", "Report the end")
        with dsl.ExitHandler(end, name="flow"):
            if resources.prepare_parts == 1:
                corpus = steps.prepare(prepare=prepare)
                configure(corpus, resources, "light", "Prepare corpus", cached=same_corpus, reads_data=True)
            else:
                parts = [f"{part}/{resources.prepare_parts}" for part in range(resources.prepare_parts)]
                with dsl.ParallelFor(parts, parallelism=resources.parallel, name="parts") as part:
                    share = steps.prepare_part(prepare=prepare, part=part)
                    configure(share, resources, "light", "Prepare a part of the corpus", reads_data=True)
                corpus = steps.join_parts(prepare=prepare, parts=dsl.Collected(share.outputs["corpus_part"]))
                configure(corpus, resources, "light", "Join the parts", reads_data=True)
            prepared = corpus.outputs["prepared"]
            drawn = steps.lists(lists=lists, prepared=prepared)
            configure(drawn, resources, "light", "Draw keyword lists", cached=same_lists, reads_data=True)
            listed = drawn.outputs["listed"]
            based = steps.base(base=base, copy=resources.copy_base)
            configure(based, resources, "light", "Fetch base model", cached=same_base)
            base_model = based.outputs["base_model"]
            training = dict(model=model, lora=lora, tracking=tracking, checkpoints=checkpoints)
            training |= dict(prepared=prepared, base_model=base_model)

            stage_1 = train_pruner("Train pruner", pruner=pruner, listed=listed, **training)
            pruner_adapter = stage_1.outputs["pruner_adapter"]
            pruning_step = steps.prune(
                pruning=pruning,
                runtime=runtime,
                prepared=prepared,
                listed=listed,
                base_model=base_model,
                pruner_adapter=pruner_adapter,
            )
            configure(
                pruning_step, resources, "inference", "Prune keyword lists", cached=True, fetches=params.base.path
            )
            pruned = pruning_step.outputs["pruned"]
            stage_2 = train_recogniser("Train recogniser", recogniser=recogniser, pruned=pruned, **training)
            recogniser_adapter = stage_2.outputs["recogniser_adapter"]
            decoded = steps.decode(
                inference=inference,
                runtime=runtime,
                prepared=prepared,
                pruned=pruned,
                base_model=base_model,
                recogniser_adapter=recogniser_adapter,
            )
            configure(decoded, resources, "inference", "Transcribe test split", cached=True, fetches=params.base.path)
            results = decoded.outputs["results"]
            scored = steps.evaluate(evaluation=evaluation, results=results)
            configure(scored, resources, "light", "Evaluate", cached=True)

            # Not cached: steps that change the registry run every time.
            registered = steps.register(
                profile=profile,
                prepare=prepare,
                lists=lists,
                base=base,
                model=model,
                lora=lora,
                pruner=pruner,
                pruning=pruning,
                recogniser=recogniser,
                inference=inference,
                runtime=runtime,
                evaluation=evaluation,
                gate=gate,
                tracking=tracking,
                prepared=prepared,
                listed=listed,
                pruned=pruned,
                base_model=base_model,
                pruner_adapter=pruner_adapter,
                checkpoints=checkpoints,
                recogniser_adapter=recogniser_adapter,
                results=results,
                reports=scored.outputs["reports"],
            )
            configure(registered, resources, "light", "Register", reads_checkpoints=True)
            version = registered.outputs["Output"]
            # A version that cannot be loaded must never become the champion, regardless of its scores.
            tried = steps.check_version(version=version, tracking=tracking, prepared=prepared, listed=listed)
            configure(tried, resources, "inference", "Try the version", fetches=params.base.path)
            judged = steps.promote(version=version, gate=gate, evaluation=evaluation, tracking=tracking).after(tried)
            configure(judged, resources, "light", "Promote, if the gate holds")
            # No condition: KFP's driver creates an untriggered task only after the last launcher has set the DAG's
            # state, so a run whose gate refuses would stay RUNNING in the exit handler's view.
            announced = steps.announce(
                version=version,
                promoted=judged.outputs["Output"],
                tracking=tracking,
                run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                host=host,
                verdict=judged.outputs["summary"],
            )
            configure(announced, resources, "light", "Announce the verdict")

    return train_and_evaluate


def _training(params: Params, stage: Literal["pruner", "recogniser"]) -> Callable[..., PipelineTask]:
    """Return a builder of the training step: in a pod of its own, or on the nodes of a TrainJob."""
    resources, nodes = params.resources, params.resources.training_nodes
    if nodes == 1:
        check_processes(params, stage)
        component = getattr(steps, f"train_{stage}")
        return lambda title, **inputs: configure(
            component(**inputs), resources, "training", title, cached=True, fetches=params.base.path
        )
    component = getattr(steps, f"train_{stage}_on_nodes")
    job = json.dumps(trainjob(params, stage, nodes))

    def step(title: str, **inputs: Any) -> PipelineTask:
        return configure(component(job=job, **inputs), resources, "light", title, cached=True, waits_for_nodes=True)

    return step
