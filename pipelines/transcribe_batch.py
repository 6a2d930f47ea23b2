"""Many talks with a registered model: dealt out in shards, some transcribed at a time, collected in one file."""

from kfp import dsl

from components import flow as steps
from components import transcription
from pipelines.resources import DATA, place
from sap2.params import Params

__all__ = ["NAME", "build"]

NAME = "sap2-transcribe-batch"


def build(params: Params):
    """The pipeline for a profile: the model is its champion, `resources` is built in."""
    resources, tracking = params.resources, params.tracking

    @dsl.pipeline(name=NAME, description="A folder or bucket of talks to transcripts, with a keyword list.")
    def transcribe_batch(
        talks: str = DATA,
        keywords: str = "",
        model: str = f"models:/{tracking.model_name}@champion",
        shards: int = 8,
        host: str = "",
    ):
        """A folder or bucket of talks to transcripts, with a keyword list.

        Args:
            talks: Folder of the data volume, as /data/talks, or a bucket, as s3://bucket/talks.
            keywords: Words to expect in all talks, separated by commas.
            model: models:/NAME/VERSION or models:/NAME@ALIAS of the registry.
            shards: Most parts the talks are dealt into.
            host: Address of Kubeflow's pages, for links in messages; `sap2 pipeline submit` gives it.
        """
        end = steps.report_end(pipeline=NAME, profile=params.profile, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, host=host)
        place(end, resources, "light", "Report the end")
        with dsl.ExitHandler(end, name="transcription"):
            # Nothing is cached: talks and champion change under the same names.
            dealt = transcription.deal_talks(talks=talks, shards=shards)
            place(dealt, resources, "light", "Deal out the talks", reads_data=True)
            with dsl.ParallelFor(dealt.output, parallelism=resources.parallel, name="shards") as shard:
                heard = transcription.transcribe_shard(talks=talks, keywords=keywords, model=model, shard=shard)
                place(heard, resources, "inference", "Transcribe a shard", fetches=params.base.path)
            collected = transcription.collect_transcripts(shards=dsl.Collected(heard.outputs["transcripts"]))
            place(collected, resources, "light", "Collect the transcripts")

    return transcribe_batch
