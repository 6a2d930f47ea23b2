"""Kubeflow components that transcribe a folder or bucket of talks, one shard per pod."""

from kfp.dsl import Dataset, Input, Markdown, Metrics, Output

from components.flow import step

__all__ = ["collect_transcripts", "deal_talks", "transcribe_shard"]


@step
def deal_talks(talks: str, shards: int) -> list[str]:
    """Count the talks and split them into shards.

    Args:
        talks: Folder on the data volume such as /data/talks, or a bucket such as s3://bucket/talks.
        shards: Maximum number of shards; none without talks.

    Returns:
        Output: The shards, named "0/8", "1/8" and so on.
    """
    from sap2.inference.buckets import find_talks

    dealt = min(shards, len(find_talks(talks)))
    return [f"{shard}/{dealt}" for shard in range(dealt)]


@step
def transcribe_shard(
    talks: str,
    keywords: str,
    keywords_file: str,
    model: str,
    shard: str,
    transcripts: Output[Dataset],
    summary: Output[Markdown],
) -> None:
    """Transcribe a shard of the talks.

    Args:
        talks: Folder or bucket.
        keywords: Keywords for all talks, separated by commas; may be empty.
        keywords_file: File on the data volume with more keywords, or their index by "sap2 index"; may be empty.
        model: models:/NAME/VERSION or models:/NAME@ALIAS of the registry.
        shard: The shard, such as "0/8".

    Returns:
        transcripts: JSON lines, one per talk: text, segments with times, keywords found; or the error.
        summary: Numbers of talks transcribed and failed.
    """
    from pathlib import Path

    from components.outputs import show
    from sap2 import stages
    from sap2.inference.keyword_files import read_keywords

    listed = read_keywords(keywords, Path(keywords_file) if keywords_file else None)
    number, shards = map(int, shard.split("/"))
    show(
        stages.transcribe_talks(talks, listed, Path(transcripts.path), model, number, shards),
        summary,
    )


@step
def collect_transcripts(
    shards: Input[list[Dataset]], transcripts: Output[Dataset], metrics: Output[Metrics], failures: Output[Markdown]
) -> None:
    """Merge the shards' transcripts into a file, sorted by the talks' names.

    Args:
        shards: The shards' transcripts.

    Returns:
        transcripts: JSON lines, one per talk.
        metrics: Talks transcribed and failed.
        failures: The unreadable talks, and why.
    """
    from pathlib import Path

    from sap2.files import read_jsonl, write_jsonl

    rows = sorted((row for shard in shards for _, row in read_jsonl(shard.path)), key=lambda row: row["talk"])
    write_jsonl(transcripts.path, rows)
    failed = [row for row in rows if "error" in row]
    metrics.log_metric("transcribed", len(rows) - len(failed))
    metrics.log_metric("failed", len(failed))
    page = "\n".join(f"- `{row['talk']}`: {row['error']}" for row in failed) or "All talks were transcribed."
    Path(failures.path).write_text(page + "\n", encoding="utf-8")
    print(page)
