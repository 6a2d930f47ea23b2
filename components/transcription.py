"""A folder or bucket of talks to transcripts, a shard a pod."""

from kfp.dsl import Dataset, Input, Markdown, Metrics, Output

from components.flow import step

__all__ = ["collect_transcripts", "deal_talks", "transcribe_shard"]


@step
def deal_talks(talks: str, shards: int) -> list[str]:
    """Count the talks and deal them out.

    Args:
        talks: Folder of the data volume, as /data/talks, or a bucket, as s3://bucket/talks.
        shards: Most shards; there is none without a talk.

    Returns:
        Output: The shards, named "0/8", "1/8" and so on.
    """
    from sap2.inference.buckets import find_talks

    dealt = min(shards, len(find_talks(talks)))
    return [f"{shard}/{dealt}" for shard in range(dealt)]


@step
def transcribe_shard(
    talks: str, keywords: str, model: str, shard: str, transcripts: Output[Dataset], summary: Output[Markdown]
) -> None:
    """Transcribe one shard of the talks.

    Args:
        talks: Folder or bucket.
        keywords: Words to expect in all of them, separated by commas; may be empty.
        model: models:/NAME/VERSION or models:/NAME@ALIAS of the registry.
        shard: Which part, as "0/8".

    Returns:
        transcripts: JSON lines, a talk each: text, segments with times, keywords found; or the error.
        summary: How many.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.data.biasing import read_list

    number, shards = map(int, shard.split("/"))
    show(
        stages.transcribe_talks(talks, read_list(keywords), Path(transcripts.path), model, number, shards),
        summary,
    )


@step
def collect_transcripts(
    shards: Input[list[Dataset]], transcripts: Output[Dataset], metrics: Output[Metrics], failures: Output[Markdown]
) -> None:
    """Put the shards' transcripts into one file, in the order of the talks' names.

    Args:
        shards: The shards' transcripts.

    Returns:
        transcripts: JSON lines, a talk each.
        metrics: Talks transcribed and failed.
        failures: The talks that could not be read, and why.
    """
    from pathlib import Path

    from sap2.files import read_jsonl, write_jsonl

    rows = sorted((row for one in shards for _, row in read_jsonl(one.path)), key=lambda row: row["talk"])
    write_jsonl(transcripts.path, rows)
    failed = [row for row in rows if "error" in row]
    metrics.log_metric("transcribed", len(rows) - len(failed))
    metrics.log_metric("failed", len(failed))
    page = "\n".join(f"- `{row['talk']}`: {row['error']}" for row in failed) or "All talks were transcribed."
    Path(failures.path).write_text(page + "\n", encoding="utf-8")
    print(page)
