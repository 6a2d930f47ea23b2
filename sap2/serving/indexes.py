"""Keyword indexes of a server: files in a folder, loaded when a request names them."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from sap2.errors import InputError
from sap2.inference.index import KeywordIndex

__all__ = ["SUFFIX", "IndexFolder"]

SUFFIX = ".index"


@dataclass(frozen=True)
class _LoadedIndex:
    index: KeywordIndex
    stamp: tuple[int, int]  # of the file: modification time, size


class IndexFolder:
    """Loads indexes by name, and keeps the most recently used in memory.

    Args:
        folder: Folder of `NAME.index` files written by "sap2 index"; files may be replaced at any time.
        most: Approximate maximum of the memory of all indexes, in bytes; the index used last is kept in any case.
    Raises: InputError: there is no such folder.
    """

    def __init__(self, folder: Path, most: int):
        if not folder.is_dir():
            raise InputError(f'--indexes {folder}: no such folder, expected a folder of files written by "sap2 index"')
        self._folder, self._most = folder, most
        self._loaded: OrderedDict[str, _LoadedIndex] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of all indexes."""
        return sorted(path.stem for path in self._folder.glob(f"*{SUFFIX}"))

    def get(self, name: str) -> KeywordIndex:
        """Return the index of a name, loading it if needed; blocks, so call it in a thread.

        Raises: KeyError: there is no such index. InputError: its file is damaged.
        """
        if name not in self.names():  # the client's name is never used as a path
            raise KeyError(name)
        path = self._folder / f"{name}{SUFFIX}"
        state = path.stat()
        stamp = (state.st_mtime_ns, state.st_size)
        with self._lock:
            loaded = self._loaded.pop(name, None)
            if loaded is None or loaded.stamp != stamp:
                loaded = _LoadedIndex(KeywordIndex.load(path), stamp)
            self._loaded[name] = loaded
            while len(self._loaded) > 1 and self.nbytes > self._most:
                self._loaded.popitem(last=False)
        return loaded.index

    @property
    def nbytes(self) -> int:
        """Approximate memory of the loaded indexes, in bytes."""
        return sum(loaded.index.nbytes for loaded in list(self._loaded.values()))
