"""Redirection of libraries' messages during a training to a log file; the terminal shows only our lines, on stderr."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

__all__ = ["library_messages"]


@contextmanager
def library_messages(log: Path) -> Iterator[None]:
    """Append to `log` what would be printed on the terminal: warnings, log records below ERROR, and all of stdout.

    Several processes can share the file.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as file, _warnings(file), _records(file), _stdout(file):
        yield


@contextmanager
def _warnings(file: TextIO) -> Iterator[None]:
    def write(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        _file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))

    with warnings.catch_warnings():
        patched: Any = warnings
        patched.showwarning = write
        yield


@contextmanager
def _records(file: TextIO) -> Iterator[None]:
    """Redirect the records of every handler of the terminal, also of handlers that libraries install later."""
    emit, terminal = logging.StreamHandler.emit, (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)

    def write(handler: "logging.StreamHandler[TextIO]", record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR and handler.stream in terminal:
            file.write(f"{handler.format(record)}\n")
        else:
            emit(handler, record)

    patched: Any = logging.StreamHandler
    patched.emit = write
    try:
        yield
    finally:
        patched.emit = emit


@contextmanager
def _stdout(file: TextIO) -> Iterator[None]:
    """Redirect Python's stdout, and the process's, to which compilers and C++ code write."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(file.fileno(), 1)
    try:
        with redirect_stdout(file):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
