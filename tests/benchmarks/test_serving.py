"""The serving benchmark counts what was answered, and its page says what its record says."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from transcription_server import multipart, running

from sap2.serving.limits import Limits

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serving"
RECORD = BENCHMARK / "records" / "serving.json"


@pytest.fixture(scope="module")
def benchmark():
    return runpy.run_path(str(BENCHMARK / "run.py"))


def test_every_request_is_answered_and_timed(benchmark):
    import io

    import numpy as np
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, np.zeros(16_000, dtype="int16"), 16_000, format="FLAC")
    with running() as server:
        request = benchmark["body"](out.getvalue(), {"keywords": "Meyer"})
        taken, latencies = benchmark["load"](server, [request], 3, 10)
        answered = server.ask("GET", "/metrics")[2].decode()
    assert len(latencies) == 10 and 0 < max(latencies) <= taken
    assert 'sap2_requests_total{path="/v1/audio/transcriptions",status="200"} 10.0' in answered


def test_a_refused_request_ends_the_benchmark(benchmark):
    with running(limits=Limits(max_bytes=10)) as server, pytest.raises(SystemExit, match="413: .*expected at most 10"):
        benchmark["load"](server, [multipart([("file", b"x" * 100, "a.wav")])], 2, 4)


def test_memory_is_read_after_each_quarter(benchmark, monkeypatch):
    loads = []
    monkeypatch.setitem(benchmark["grown"].__globals__, "load", lambda *given: loads.append(given[2:]))
    sizes = iter([100.4, 101.0, 102.0, 101.0, 101.0])
    seen = benchmark["grown"](SimpleNamespace(memory=lambda: next(sizes)), [], 2000)
    assert [row["requests"] for row in seen] == [0, 500, 1000, 1500, 2000] and seen[0]["mb"] == 100
    assert loads == [(16, 500)] * 4


def test_a_record_names_its_command_and_commit(benchmark, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("sys.argv", ["benchmarks/serving/run.py", "--memory", "2000"])
    made = benchmark["origin"]()
    assert made["command"] == "OMP_NUM_THREADS=1 python benchmarks/serving/run.py --memory 2000"
    assert len(made["commit"]) == 40 or made["commit"] == "unknown"
    assert len(made["date"]) == 10 and made["cores"] >= 1


def test_the_page_agrees_with_the_record():
    page = " ".join((BENCHMARK / "README.md").read_text(encoding="utf-8").split())
    assert "MEMORY" not in page
    if not RECORD.is_file():
        assert "It is to be measured again" in page
        return
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for row in record["rows"]:
        name = "off" if row["max_batch"] == 1 else f"up to {row['max_batch']:g}"
        assert f"| {row['clients']:g} | {name} | {row['rate']:.1f} | {row['p50']:.0f} | {row['p95']:.0f} |" in page
    assert all(f"{row['mb']} MB" in page for row in (record["memory"][0], record["memory"][-1]))
    assert "It is to be measured again" not in page
