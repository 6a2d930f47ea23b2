"""Conversion of nested params and metrics to the flat, bounded, public values that MLflow accepts."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["flat", "flat_params", "numbers", "public", "public_values", "safe_key"]

KEY_LENGTH = 250  # MLflow's limit on a name
VALUE_LENGTH = 6000  # MLflow's limit on a param's value
HIDDEN = "***"

# Whole words of a key only: `max_new_tokens` and `batch_tokens` are not secrets.
_SECRET = re.compile(
    r"(?:^|[._/-])(?:(?:hf|hub|api|access|auth|bearer|refresh|session)_?token|token|passw(?:or)?d|secret(?:_?key)?"
    r"|credentials?|(?:api|access|private)_?key)$",
    re.IGNORECASE,
)
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")


def flat(nested: Mapping[str, Any], separator: str) -> Iterator[tuple[str, Any]]:
    """Yield leaves with their path as a name; a list is a leaf.

    >>> list(flat({"pruner": {"epochs": 1.0, "list_sizes": [5, 10]}}, "."))
    [('pruner.epochs', 1.0), ('pruner.list_sizes', [5, 10])]
    """
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}{separator}{name}", leaf) for name, leaf in flat(value, separator))
        else:
            yield str(key), value


def flat_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Flatten params for MLflow: dotted names, bounded strings, secrets hidden.

    >>> flat_params({"hub": {"api_token": "abc"}, "base": {"path": "http://me:pw@hub/x"}, "max_new_tokens": 16})
    {'hub.api_token': '***', 'base.path': 'http://***@hub/x', 'max_new_tokens': '16'}
    """
    return {
        safe_key(key): HIDDEN if _SECRET.search(key) and value is not None else _bounded(public(str(value)))
        for key, value in flat(params, ".")
    }


def public_values(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Hide secrets in nested params; everything else is unchanged.

    >>> public_values({"hub": {"api_token": "abc"}, "base": {"path": "http://me:pw@hub/x"}, "n": 2})
    {'hub': {'api_token': '***'}, 'base': {'path': 'http://***@hub/x'}, 'n': 2}
    """
    shown: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            shown[key] = public_values(value)
        elif _SECRET.search(str(key)) and value is not None:
            shown[key] = HIDDEN
        else:
            shown[key] = public(value) if isinstance(value, str) else list(value) if isinstance(value, tuple) else value
    return shown


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among the leaves, named `context/figure`, without nulls, strings and lists.

    >>> numbers({"predicted": {"b_wer": 4.5, "recall": None}, "definition": "deep-bias"})
    {'predicted/b_wer': 4.5}
    """
    leaves = flat(metrics, "/")
    return {safe_key(key): float(v) for key, v in leaves if isinstance(v, int | float) and not isinstance(v, bool)}


def public(text: str) -> str:
    """Hide user names and passwords in a text's URLs."""
    return _USER_IN_URL.sub(f"{HIDDEN}@", text)


def safe_key(key: str) -> str:
    """Replace characters that MLflow rejects in a name by `_`, and normalise it as a path inside its folder.

    >>> safe_key("u-wer (%)"), safe_key("/a//b/../c")
    ('u-wer ___', 'a/c')
    """
    plain = re.sub(r"[^\w.\-/: ]", "_", key)[:KEY_LENGTH]
    return posixpath.normpath("/" + plain).lstrip("/") or "_"


def _bounded(value: str) -> str:
    note = f"… ({len(value)} characters)"
    return value if len(value) <= VALUE_LENGTH else value[: VALUE_LENGTH - len(note)] + note
