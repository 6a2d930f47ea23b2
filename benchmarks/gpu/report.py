"""A run's record as Markdown: a table per part, with a column for every key in its rows."""

from collections.abc import Iterable


def markdown(content: dict) -> str:
    """Format the content of `records.json` as a report.

    >>> rows = [{"case": "a", "step_seconds": 1.23456}, {"case": "b", "error": "no | memory"}]
    >>> part = {"part": "training", "state": "failed", "rows": rows}
    >>> print(markdown({"base": "qwen", "tiny": True, "parts": [part]}))
    # GPU benchmark: qwen, tiny: figures are meaningless
    <BLANKLINE>
    ## training
    <BLANKLINE>
    failed
    <BLANKLINE>
    | case | step seconds | error |
    | --- | --- | --- |
    | a | 1.235 |  |
    | b |  | no / memory |
    <BLANKLINE>
    """
    about = [f"- {name}: {value}" for name, value in content.items() if name not in ("parts", "base", "tiny")]
    tiny = ", tiny: figures are meaningless" if content.get("tiny") else ""
    lines = [f"# GPU benchmark: {content['base']}{tiny}", *([""] if about else []), *about]
    for part in content["parts"]:
        spent = f", {part['seconds']:.0f} s" if "seconds" in part else ""
        reason = f": {part['reason']}" if "reason" in part else ""
        lines += ["", f"## {part['part']}", "", f"{part['state']}{spent}{_cell(reason)}"]
        if part["rows"]:
            lines += ["", *_table(part["rows"])]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict]) -> Iterable[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    yield f"| {' | '.join(name.replace('_', ' ') for name in names)} |"
    yield f"| {' | '.join('---' for _ in names)} |"
    for row in rows:
        yield f"| {' | '.join(_cell(row.get(name, '')) for name in names)} |"


def _cell(value) -> str:
    """
    >>> _cell(0.00012345), _cell(1234.5678), _cell([0.5, 1.0]), _cell(None)
    ('0.0001234', '1,235', '0.5, 1', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return " ".join(str(value).replace("|", "/").split())
