"""Progress is a bar on a terminal and lines in a log; all items are passed through."""

import sys

import pytest
import tqdm

from sap2.progress import track


@pytest.mark.parametrize(
    ("terminal", "options"), [(True, {}), (False, {"mininterval": 10, "ascii": True, "ncols": 80})]
)
def test_progress_is_a_bar_on_a_terminal_and_lines_in_a_log(monkeypatch, capsys, terminal, options):
    shown, bar = [], tqdm.tqdm
    monkeypatch.setattr(tqdm, "tqdm", lambda items, **given: shown.append(given) or bar(items, **given))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert list(track(iter("abc"), 3, "encode")) == ["a", "b", "c"]
    assert {name: value for name, value in shown[0].items() if name in ("mininterval", "ascii", "ncols")} == options
    said = capsys.readouterr().err
    assert "encode: 100%" in said and "3/3" in said and said.isascii() != terminal
