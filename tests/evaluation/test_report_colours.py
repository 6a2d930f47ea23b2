"""Our pages are readable in both schemes: text stands out from what is behind it, by WCAG 2.1's contrast."""

import re
from pathlib import Path

import pytest

import sap2.evaluation
from sap2.pages import look

CSS = look() + (Path(sap2.evaluation.__file__).parent / "report.css").read_text(encoding="utf-8")


def colours(indent: str) -> dict[str, str]:
    blocks = re.findall(rf"^{indent}:root \{{(.*?)\}}", CSS, re.DOTALL | re.MULTILINE)
    return dict(re.findall(r"--([\w-]+):\s*(#\w+)", "".join(blocks)))


LIGHT, DARK = colours(""), colours("  ")  # the dark ones stand in a media query
PAIRS = [
    *((text, behind) for text in ("ink", "soft", "accent") for behind in ("card", "page")),
    *((colour, f"{colour}-wash") for colour in ("right", "wrong", "false")),
    *((f"on-p{number}", f"p{number}") for number in range(5)),
    ("ink", "hit"), ("ink", "wash"), ("wrong", "card"), ("wrong", "page"),
]  # fmt: skip


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [LIGHT, LIGHT | DARK], ids=["light", "dark"])
@pytest.mark.parametrize("pair", PAIRS, ids=" on ".join)
def test_text_stands_out_from_what_is_behind_it(scheme, pair):
    dark, light = sorted(luminance(scheme[name]) for name in pair)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
