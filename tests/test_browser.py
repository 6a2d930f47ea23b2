"""Without a browser its tests are skipped, or fail where one is required: they never pass."""

import pytest
from browser import browser_or_skip


@pytest.mark.parametrize(
    ("required", "outcome"), [("required", pytest.fail.Exception), ("", pytest.skip.Exception)], ids=["fail", "skip"]
)
@pytest.mark.parametrize(
    ("program", "reason"),
    [("", "no browser: none of chromium"), ("/no/browser", "cannot be started"), ("/bin/false", "does not start")],
    ids=["none", "wrong", "broken"],
)
def test_a_browser_that_is_missing_is_said(monkeypatch, program, reason, required, outcome):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CHROMIUM", program)
    monkeypatch.setenv("SAP2_BROWSER", required)
    with pytest.raises(outcome, match=reason), browser_or_skip():
        pass
