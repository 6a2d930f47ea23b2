"""Guarantees of the engine that are not tested through the server."""

import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from sap2.serving import engine as module
from sap2.serving.engine import Engine, EngineClosed, QueueFull
from sap2.serving.limits import Limits

MEGABYTE = 1 << 20


class Wasteful:
    """Frees its memory except for the last piece, which keeps the heap from shrinking from its end."""

    def __init__(self):
        self.kept = []

    def recognise(self, audio, keywords):
        pieces = [bytearray(50_000) for _ in range(6_000)]
        self.kept.append(pieces[-1])
        return [SimpleNamespace(text="yes") for _ in audio]


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_freed_memory_returns_to_the_system(monkeypatch):
    monkeypatch.setattr(module, "TIDY_EVERY", 0.0)
    engine = Engine(Limits())
    engine.switch("it", Wasteful())
    before = psutil.Process().memory_info().rss
    [future] = engine.submit([(np.zeros(16_000), [])], 60)
    assert future.result(60).transcript.text == "yes"
    engine.close(60)
    assert psutil.Process().memory_info().rss - before < 100 * MEGABYTE, "300 MB were allocated and freed"


SECOND = (np.zeros(16_000), [])


class BlockedModel:
    """Blocks until `go` is set; a `fault` applies once, to the next batch."""

    def __init__(self):
        self.begun, self.go, self.fault = threading.Event(), threading.Event(), None

    def recognise(self, audio, keywords):
        self.begun.set()
        assert self.go.wait(60)
        fault, self.fault = self.fault, None
        if isinstance(fault, BaseException):
            raise fault
        return [SimpleNamespace(text="yes") for _ in audio][: fault and -1]


@pytest.fixture
def model():
    return BlockedModel()


@pytest.fixture
def engine(model):
    engine = Engine(Limits(queue=2, max_batch=1), observe)
    engine.switch("it", model)
    yield engine
    model.go.set()
    engine.close(60)


def observe(recordings, audio, computing):
    if observe.fault:
        observe.fault = None
        raise RuntimeError("metrics failed")


observe.fault = None


def hold(engine, model):
    """Submit a recording, and wait until it is being recognised."""
    [future] = engine.submit([SECOND], 60)
    assert model.begun.wait(60)
    return future


def test_cancelled_requests_take_no_room_in_the_queue(engine, model):
    hold(engine, model)
    cancelled = engine.submit([SECOND, SECOND], 60)
    with pytest.raises(QueueFull):
        engine.submit([SECOND], 60)
    assert engine.depth == 2
    assert all(future.cancel() for future in cancelled)
    assert engine.depth == 0
    [first], [second] = engine.submit([SECOND], 60), engine.submit([SECOND], 60)
    with pytest.raises(QueueFull):
        engine.submit([SECOND], 60)
    model.go.set()
    assert [future.result(60).transcript.text for future in (first, second)] == ["yes", "yes"]


def test_closing_handles_cancelled_and_waiting_requests(engine, model):
    hold(engine, model)
    cancelled, waiting = engine.submit([SECOND, SECOND], 60)
    cancelled.cancel()
    engine.close(0)
    with pytest.raises(EngineClosed):
        waiting.result(0)


@pytest.mark.parametrize("where", ["missing transcript", "metrics"])
def test_a_fault_affects_only_its_own_request(engine, model, where, capsys):
    model.go.set()
    if where == "metrics":
        observe.fault = True
    else:
        model.fault = 1
    [unlucky] = engine.submit([SECOND], 60)
    with pytest.raises((RuntimeError, ValueError)):
        unlucky.result(60)
    [following] = engine.submit([SECOND], 60)
    assert following.result(60).transcript.text == "yes"
    assert engine.alive and "serving: " in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_with_a_dead_thread_rejects_requests(engine, model):
    model.fault = SystemExit(1)
    model.go.set()
    engine.submit([SECOND], 60)
    until = time.monotonic() + 60
    while engine.alive and time.monotonic() < until:
        time.sleep(0.01)
    assert not engine.alive
    with pytest.raises(EngineClosed):
        engine.submit([SECOND], 60)


class Counting:
    """Records the sizes of its batches."""

    def __init__(self):
        self.batches = []

    def recognise(self, audio, keywords):
        self.batches.append(len(audio))
        return [SimpleNamespace(text="yes") for _ in audio]


def trickled(count: int, batch_wait: float, pause: float) -> list[int]:
    """Submit recordings with pauses between them; return the sizes of their batches."""
    model, engine = Counting(), Engine(Limits(batch_wait=batch_wait, max_batch=16))
    engine.switch("it", model)
    futures = []
    for _ in range(count):
        futures += engine.submit([SECOND], 60)
        time.sleep(pause)
    for future in futures:
        future.result(60)
    engine.close(60)
    return model.batches


def test_a_batch_waits_while_recordings_keep_arriving():
    assert trickled(8, batch_wait=0.5, pause=0.1) == [8], "together they take longer than a single wait"


def test_a_batch_never_waits_indefinitely():
    assert sum(trickled(12, batch_wait=0.05, pause=0.04)) == 12 > max(trickled(12, batch_wait=0.05, pause=0.04))
