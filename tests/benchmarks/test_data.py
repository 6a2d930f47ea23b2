"""The corpora's benchmarks run, at sizes whose figures are meaningless, and the page agrees with the record."""

import json
import runpy
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "data"


def test_shards_are_written_and_read(tmp_path, monkeypatch):
    script = runpy.run_path(str(BENCHMARK / "shards.py"))
    monkeypatch.setitem(script["write_shards"].__globals__, "SHARD", 8)
    figures = script["read"](script["write_shards"](tmp_path, 24, 0.5))
    assert figures["utterances"] == 24 and figures["hours"] == pytest.approx(24 * 0.5 / 3600, abs=0.01)
    assert figures["utterances_a_core_second"] > 0 and figures["peak_mb"] > 0


def test_rows_are_written_and_read(tmp_path, monkeypatch):
    script = runpy.run_path(str(BENCHMARK / "swift_rows.py"))
    monkeypatch.setitem(script["write_rows"].__globals__, "RECORDINGS", 4)
    script["write_rows"](tmp_path, 30, duration=True)
    figures = script["prepare"](tmp_path)
    assert (figures["rows"], figures["accepted"]) == (30, 30)


def test_the_page_says_what_the_record_says():
    page = (BENCHMARK / "README.md").read_text(encoding="utf-8")
    for line in (BENCHMARK / "records" / "shards.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert (
            f"| {row['utterances']:,} | {row['hours']:.1f} | {row['utterances_a_core_second']:.0f} | "
            f"{row['peak_mb']} MB | {row['opening_seconds']:.1f} s |"
        ) in page
