"""Browser tests are skipped without a browser, or fail if it is required; they never pass."""

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
def test_a_missing_browser_is_reported(monkeypatch, program, reason, required, outcome):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CHROMIUM", program)
    monkeypatch.setenv("SAP2_BROWSER", required)
    with pytest.raises(outcome, match=reason), browser_or_skip():
        pass
