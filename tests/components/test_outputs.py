"""A run's end is announced, and failures are sent to the webhook."""

from types import SimpleNamespace

import pytest
from webhook import webhook

from components.outputs import announce_end, announce_verdict, log_figures, show


@pytest.fixture
def chat(monkeypatch):
    """A chat service's address; yields what was posted there."""
    with webhook(monkeypatch) as posted:
        yield posted


def status(state: str) -> SimpleNamespace:
    return SimpleNamespace(state=state, error_message=None)  # a cluster gives none: resolve.go, `TaskFinalStatus`


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE", "CACHED"])
def test_a_success_is_printed_and_sent_to_nobody(chat, capsys, state):
    """KFP's local runner says the first, ML Metadata the others."""
    announce_end("flow", "test", "r1", "", status(state))
    assert chat == []
    assert capsys.readouterr().out == "flow (profile test) succeeded; run r1\n"


@pytest.mark.parametrize(
    ("state", "how"),
    [
        ("FAILED", "a step failed"),
        ("RUNNING", "a step was interrupted, its pod was killed or never started"),
        ("UNKNOWN", "Kubeflow gives its state as UNKNOWN"),
    ],
)
def test_a_failure_is_sent_with_its_run_and_its_page(chat, capsys, state, how):
    announce_end("flow", "test", "r1", "http://localhost:8080/", status(state))
    text = f"flow (profile test) failed: {how}; run r1, http://localhost:8080/#/runs/details/r1"
    assert chat == [{"text": text}]
    assert capsys.readouterr().out == f"{text}\n"


def test_a_new_champion_is_sent_with_its_rules_and_the_way_back(chat, capsys):
    text = announce_verdict("models:/m/3", True, "| rule | holds |", "r1", "")
    assert chat == [{"text": text}]
    assert text.startswith("models:/m/3 is the champion now;") and '"sap2 rollback"' in text
    assert text.endswith("; run r1.\n\n| rule | holds |")
    assert capsys.readouterr().out == f"{text}\n"


def test_a_version_that_was_refused_is_never_called_champion(chat):
    text = announce_verdict("models:/m/3", False, "| rule | does not hold |", "r1", "")
    assert chat == [{"text": text}]
    assert text.startswith("models:/m/3 was not promoted; the champion is unchanged; run r1.")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/hook", "chat"])
def test_an_address_that_takes_nothing_fails_no_promotion(monkeypatch, capsys, address):
    monkeypatch.setenv("SAP2_WEBHOOK", address)
    assert announce_verdict("models:/m/3", True, "", "r1", "").startswith("models:/m/3 is the champion now")
    assert "SAP2_WEBHOOK: the announcement could not be sent" in capsys.readouterr().err


def test_figures_are_logged_without_interval_bounds():
    logged = {}
    log_figures(
        {"full": {"wer": 5.0, "wer_low": 4.0, "b": None}, "n": 2}, SimpleNamespace(log_metric=logged.__setitem__)
    )
    assert logged == {"full/wer": 5.0, "n": 2.0}


def test_a_summary_is_printed_and_shown_as_it_stands(tmp_path, capsys):
    show("prune: wrote x\n  test: *4*", SimpleNamespace(path=str(tmp_path / "page.md")))
    assert (tmp_path / "page.md").read_text() == "```\nprune: wrote x\n  test: *4*\n```\n"
    assert capsys.readouterr().out == "prune: wrote x\n  test: *4*\n"
