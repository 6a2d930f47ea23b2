"""Pipeline that transcribes many talks with a registered model: in shards that run in parallel."""

from kfp import dsl

from components import flow as steps
from components import transcription
from pipelines.resources import DATA, configure
from sap2.params import Params

__all__ = ["NAME", "build"]

NAME = "sap2-transcribe-batch"


def build(params: Params):
    """Build the pipeline for a profile: the model is its champion, `resources` is fixed."""
    resources, tracking = params.resources, params.tracking

    @dsl.pipeline(name=NAME, description="Transcribes a folder or bucket of talks with a keyword list.")
    def transcribe_batch(
        talks: str = DATA,
        keywords: str = "",
        keywords_file: str = "",
        model: str = f"models:/{tracking.model_name}@champion",
        shards: int = 8,
        host: str = "",
    ):
        """Transcribe a folder or bucket of talks with a keyword list.

        Args:
            talks: Folder on the data volume such as /data/talks, or a bucket such as s3://bucket/talks.
            keywords: Keywords for all talks, separated by commas.
            keywords_file: File on the data volume with more keywords, or their index: /data/glossary.index.
            model: models:/NAME/VERSION or models:/NAME@ALIAS of the registry.
            shards: Maximum number of shards.
            host: Address of Kubeflow's pages, for links in messages; set by `sap2 pipeline submit`.
        """
        end = steps.report_end(pipeline=NAME, profile=params.profile, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, host=host)
        configure(end, resources, "light", "Report the end")
        with dsl.ExitHandler(end, name="transcription"):
            # Not cached: talks and champion may change under the same names.
            dealt = transcription.deal_talks(talks=talks, shards=shards)
            configure(dealt, resources, "light", "Split the talks", reads_data=True)
            with dsl.ParallelFor(dealt.output, parallelism=resources.parallel, name="shards") as shard:
                transcribed = transcription.transcribe_shard(
                    talks=talks, keywords=keywords, keywords_file=keywords_file, model=model, shard=shard
                )
                configure(transcribed, resources, "inference", "Transcribe a shard", fetches=params.base.path)
            collected = transcription.collect_transcripts(shards=dsl.Collected(transcribed.outputs["transcripts"]))
            configure(collected, resources, "light", "Collect the transcripts")

    return transcribe_batch
