"""The engine's own promises; those that a client sees are tested through the server."""

import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from sap2.serving import engine as room
from sap2.serving.engine import Engine
from sap2.serving.limits import Limits

MEGABYTE = 1 << 20


class Wasteful:
    """Frees all that it took but the last piece, which keeps the heap from shrinking from its end."""

    def __init__(self):
        self.kept = []

    def recognise(self, audio, keywords):
        pieces = [bytearray(50_000) for _ in range(6_000)]
        self.kept.append(pieces[-1])
        return [SimpleNamespace(text="yes") for _ in audio]


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_memory_that_is_free_goes_back_to_the_system(monkeypatch):
    monkeypatch.setattr(room, "TIDY_EVERY", 0.0)
    engine = Engine(Limits())
    engine.switch("it", Wasteful())
    before = psutil.Process().memory_info().rss
    [heard] = engine.submit([(np.zeros(16_000), [])], 60)
    assert heard.result(60).transcript.text == "yes"
    engine.close(60)
    assert psutil.Process().memory_info().rss - before < 100 * MEGABYTE, "300 MB were taken and freed"
