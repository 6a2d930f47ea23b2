"""Pipeline that scores a registered version on another set: prepare → lists → decode-version → evaluate → log."""

from kfp import dsl

from components import flow as steps
from pipelines.resources import configure
from sap2.params import Params

__all__ = ["NAME", "build"]

NAME = "sap2-evaluate-only"


def build(params: Params):
    """Build the pipeline for a profile: corpus and scoring are its defaults, `resources` is fixed."""
    default = params.without_nulls()
    resources = params.resources
    same_corpus = params.prepare.source == "lectures"

    @dsl.pipeline(name=NAME, description="Scores a registered version on another set.")
    def evaluate_only(
        profile: str = params.profile,
        version: str = "champion",
        prepare: dict = default["prepare"],
        lists: dict = default["lists"],
        evaluation: dict = default["evaluation"],
        tracking: dict = default["tracking"],
        host: str = "",
    ):
        """Score a registered version on another set, without training, registering or promoting.

        Args:
            profile: Name of the params' profile, logged with the run.
            version: Number or alias of the registered version.
            prepare: Section `prepare` of params.yaml: the corpus, whose test split is used.
            lists: Section `lists`: where its keyword lists come from, and how long they are.
            evaluation: Section `evaluation`: scoring.
            tracking: Section `tracking`: experiment and model in MLflow.
            host: Address of Kubeflow's pages, for links in messages; set by `sap2 pipeline submit`.
        """
        end = steps.report_end(pipeline=NAME, profile=profile, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, host=host)
        configure(end, resources, "light", "Report the end")
        with dsl.ExitHandler(end, name="evaluation"):
            corpus = steps.prepare(prepare=prepare)
            configure(corpus, resources, "light", "Prepare corpus", cached=same_corpus, reads_data=True)
            prepared = corpus.outputs["prepared"]
            drawn = steps.lists(lists=lists, prepared=prepared)
            configure(drawn, resources, "light", "Draw keyword lists", cached=not params.lists.files(), reads_data=True)
            listed = drawn.outputs["listed"]
            # Not cached: an alias may point to another version than in an earlier run.
            decoded = steps.decode_version(version=version, tracking=tracking, prepared=prepared, listed=listed)
            configure(decoded, resources, "inference", "Transcribe with the version", fetches=params.base.path)
            results = decoded.outputs["results"]
            scored = steps.evaluate(evaluation=evaluation, results=results)
            configure(scored, resources, "light", "Evaluate", cached=True)
            logged = steps.log_evaluation(
                profile=profile,
                version=decoded.outputs["Output"],
                prepare=prepare,
                lists=lists,
                evaluation=evaluation,
                tracking=tracking,
                listed=listed,
                results=results,
                reports=scored.outputs["reports"],
            )
            configure(logged, resources, "light", "Log the scores")

    return evaluate_only
