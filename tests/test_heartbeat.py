"""A training detects by an unchanged heartbeat file that no process waits for it."""

import os
import time

from sap2.heartbeat import Heartbeat, beat, watched


def test_a_heartbeat_with_unchanged_content_is_lost(tmp_path):
    file = tmp_path / "heartbeat"
    beat(file)
    heart = Heartbeat(file, limit=0.2)
    assert not heart.lost()
    time.sleep(0.3)
    os.utime(file)
    assert heart.lost(), "modification times do not count: caches and clocks differ"
    beat(file)
    assert not heart.lost()


def test_a_missing_file_is_lost_only_after_the_limit(tmp_path):
    heart = Heartbeat(tmp_path / "none", limit=0.2)
    assert not heart.lost()
    time.sleep(0.3)
    assert heart.lost()


def test_the_watch_reports_once(tmp_path):
    messages = []
    Heartbeat(tmp_path / "none", limit=0.1).watch(lambda: messages.append(1))
    time.sleep(0.5)
    assert messages == [1]


def test_an_ended_watch_reports_nothing(tmp_path):
    messages = []
    Heartbeat(tmp_path / "none", limit=0.2).watch(lambda: messages.append(1)).set()
    time.sleep(0.4)
    assert messages == []


def test_outside_a_trainjob_there_is_no_heartbeat(monkeypatch, tmp_path):
    monkeypatch.delenv("SAP2_HEARTBEAT", raising=False)
    assert watched() is None
    monkeypatch.setenv("SAP2_HEARTBEAT", str(tmp_path / "heartbeat"))
    monkeypatch.setenv("SAP2_HEARTBEAT_SECONDS", "7")
    assert watched().limit == 7
