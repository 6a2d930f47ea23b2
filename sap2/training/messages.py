"""What libraries say during a training, in a log file: the terminal holds our own lines, on stderr."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

__all__ = ["library_messages"]


@contextmanager
def library_messages(log: Path) -> Iterator[None]:
    """Append to `log` what otherwise goes to the terminal: warnings, log records below ERROR, and all of stdout.

    Several processes can share the file.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as file, _warnings(file), _records(file), _stdout(file):
        yield


@contextmanager
def _warnings(file: TextIO) -> Iterator[None]:
    def write(message, category, filename, lineno, _file=None, line=None):
        file.write(warnings.formatwarning(message, category, filename, lineno, line))

    with warnings.catch_warnings():
        warnings.showwarning = write
        yield


@contextmanager
def _records(file: TextIO) -> Iterator[None]:
    """Records of every handler that writes to the terminal, whenever a library installs it."""
    emit, terminal = logging.StreamHandler.emit, (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)

    def write(handler, record):
        if record.levelno < logging.ERROR and handler.stream in terminal:
            file.write(f"{handler.format(record)}\n")
        else:
            emit(handler, record)

    logging.StreamHandler.emit = write
    try:
        yield
    finally:
        logging.StreamHandler.emit = emit


@contextmanager
def _stdout(file: TextIO) -> Iterator[None]:
    """Python's stdout and the process's: compilers and C++ code write to the latter."""
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
