"""Talks of a folder or bucket: listed at any depth, split into shards without loss, all transcribed."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from object_store import object_store

from sap2.errors import InputError
from sap2.inference.buckets import find_talks, transcribe_shard


def heard(text: str) -> SimpleNamespace:
    return SimpleNamespace(
        text=text, timings={"audio": 1.0}, segments=[], left_out=[], found=[], predicted=[], scores={}
    )


def transcribe(files):
    """Says a file's content; "broken" cannot be read."""
    for path in files:
        content = path.read_text()
        yield path, InputError(f"{path.name}: not audio") if content == "broken" else heard(content)


TALKS = {
    "a.wav": "one", "deep/er/b.FLAC": "two", "c.mp3": "broken", "d.ogg": "four", "deep/e.wav": "five", "x.txt": "-",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> str:
    for name, content in TALKS.items():
        (tmp_path / "talks" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "talks" / name).write_text(content)
    return str(tmp_path / "talks")


@pytest.fixture
def bucket(monkeypatch):
    """Its address and keys are in the environment, as a Secret brings them."""
    objects = {f"talks/{name}": content.encode() for name, content in TALKS.items()}
    with object_store(objects | {"others/f.wav": b"six"}) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield "s3://bucket/talks/"


@pytest.fixture(params=["folder", "bucket"])
def talks(request) -> str:
    """Five talks and a file that is none."""
    return request.getfixturevalue(request.param)


def test_only_recordings_are_listed_at_any_depth(talks):
    assert [Path(talk).name for talk in find_talks(talks)] == ["a.wav", "c.mp3", "d.ogg", "e.wav", "b.FLAC"]


def test_each_talk_is_in_one_shard_and_errors_stop_no_other(talks, tmp_path):
    rows = []
    for shard in range(3):
        output = tmp_path / "out" / f"{shard}.jsonl"
        counts = transcribe_shard(talks, shard, 3, transcribe, output)
        made = [json.loads(line) for line in output.read_text().splitlines()]
        assert sum(counts.values()) == len(made)
        rows += made
    said = {row["talk"]: row.get("text", row.get("error")) for row in rows}
    assert len(rows) == 5
    assert said == {
        "a.wav": "one", "deep/er/b.FLAC": "two", "c.mp3": "c.mp3: not audio", "d.ogg": "four", "deep/e.wav": "five",
    }  # fmt: skip


def test_a_bucket_that_refuses_is_an_error(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-elses")
    with pytest.raises(InputError, match=r"s3://bucket/talks/: cannot be listed .*whose keys are these"):
        find_talks(bucket)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "nowhere: cannot be listed"),
        ("", "no recordings, expected files ending in"),
        ("nope://x", "nope://x: "),
    ],
)
def test_an_address_without_talks_is_an_error(place, message, tmp_path):
    with pytest.raises(InputError, match=message):
        find_talks(place if "://" in place else str(tmp_path / place))
