"""Soak tests of recogniser and server: memory, file descriptors and threads do not grow.

Every run has a short test; `make soak` takes 2,000 utterances and 10,000 requests.
"""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from sap2.serving.engine import _give_back_memory

POOL = 8  # threads that asyncio's pool may add

short_and_long = pytest.mark.parametrize(
    ("warm", "count"), [pytest.param(1, 3, id="short"), pytest.param(10, 100, id="long", marks=pytest.mark.long)]
)


class Held(NamedTuple):
    """Resources held by the process."""

    megabytes: float
    descriptors: int
    threads: int


def held() -> Held:
    gc.collect()
    _give_back_memory()  # freed tensors that glibc still caches do not count
    process = psutil.Process()
    return Held(process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())


def check_flat(before: Held, after: Held, megabytes: float, what: str) -> None:
    print(f"{what}: {before} before, {after} after", file=sys.stderr)
    assert after.megabytes - before.megabytes < megabytes
    assert after.descriptors <= before.descriptors
    assert after.threads <= before.threads + POOL


@short_and_long
def test_the_recogniser_leaks_no_resources(tmp_path_factory, warm, count):
    """Use batches of 20, with different lengths and lists."""
    from tiny import build_tiny_base, tone

    from sap2.inference import load_recogniser
    from sap2.settings import RecogniserSettings

    base = build_tiny_base(tmp_path_factory.mktemp("base"), positions=100)
    settings = RecogniserSettings(inference={"max_new_tokens": 6}, pruning={"max_new_tokens": 6})
    recogniser = load_recogniser(base, settings=settings)
    rng = np.random.default_rng(0)

    def batch(number: int) -> None:
        waves = [tone(float(rng.uniform(0.3, 1.9)), number * 20 + index) for index in range(20)]
        lists = [[f"word{rng.integers(1000)}" for _ in range(rng.integers(1, 6))] for _ in waves]
        assert len(recogniser.recognise(waves, lists)) == 20

    for number in range(warm):
        batch(number)
    before = held()
    for number in range(warm, warm + count):
        batch(number)
    check_flat(before, held(), 60, f"{20 * count} utterances")


@short_and_long
def test_the_server_leaks_no_resources(tmp_path, warm, count):
    """Send hundreds of requests from eight clients; every fourth is refused."""
    from transcription_server import running

    from sap2.data.audio import save_audio

    save_audio(tmp_path / "a.wav", 0.1 * np.sin(np.arange(16_000) / 10))
    recording = (tmp_path / "a.wav").read_bytes()
    with running() as server, ThreadPoolExecutor(8) as clients:

        def ask(number: int) -> int:
            parts = [("file", recording if number % 4 else b"no audio", "a.wav"), ("keywords", f"word{number}")]
            return server.post(*parts)[0]

        for number in range(warm):
            list(clients.map(ask, range(100 * number, 100 * number + 100)))
        before = held()
        for number in range(warm, warm + count):
            statuses = list(clients.map(ask, range(100 * number, 100 * number + 100)))
            assert (statuses.count(200), statuses.count(400)) == (75, 25)
        check_flat(before, held(), 40, f"{100 * count} requests")
