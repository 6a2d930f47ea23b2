"""The keyword indexes that an operator offers: files of a folder, loaded when a request names one."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from sap2.errors import InputError
from sap2.inference.index import KeywordIndex

__all__ = ["SUFFIX", "IndexFolder"]

SUFFIX = ".index"


@dataclass(frozen=True)
class _Held:
    index: KeywordIndex
    stamp: tuple[int, int]  # of the file: time of its last change, bytes


class IndexFolder:
    """Loads indexes by name, and keeps those used last in memory.

    Args:
        folder: Holds `NAME.index` files, as "sap2 index" writes them; they may be replaced while it is served.
        most: Bytes that the indexes in memory take together, about; the one used last may be above it alone.
    Raises: InputError: there is no such folder.
    """

    def __init__(self, folder: Path, most: int):
        if not folder.is_dir():
            raise InputError(f'--indexes {folder}: no such folder, expected one of files that "sap2 index" wrote')
        self._folder, self._most = folder, most
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The indexes there are."""
        return sorted(path.stem for path in self._folder.glob(f"*{SUFFIX}"))

    def get(self, name: str) -> KeywordIndex:
        """The index of this name. Blocks: for a thread.

        Raises: KeyError: there is none. InputError: its file is damaged.
        """
        if name not in self.names():  # never a path of the client's making
            raise KeyError(name)
        path = self._folder / f"{name}{SUFFIX}"
        state = path.stat()
        stamp = (state.st_mtime_ns, state.st_size)
        with self._lock:
            held = self._held.pop(name, None)
            if held is None or held.stamp != stamp:
                held = _Held(KeywordIndex.load(path), stamp)
            self._held[name] = held
            while len(self._held) > 1 and self.nbytes > self._most:
                self._held.popitem(last=False)
        return held.index

    @property
    def nbytes(self) -> int:
        """Memory that the indexes take, about."""
        return sum(held.index.nbytes for held in list(self._held.values()))
