"""Progress of long work: a bar on a terminal, a line every ten seconds in a log."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], total: int | None, label: str) -> Iterator[Item]:
    """Yield the items of `items`, showing progress on stderr."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    options = {} if terminal else {"mininterval": 10, "ascii": True, "ncols": 80}
    yield from tqdm(items, total=total, desc=label, file=sys.stderr, **options)
