"""Recognition of concurrent requests in micro-batches: a bounded queue, a worker thread and a model."""

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence, Sized
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Protocol

from sap2.constants import SAMPLE_RATE, Seconds
from sap2.serving.limits import Limits

__all__ = ["Answer", "Engine", "EngineClosed", "QueueFull", "BatchRecogniser", "RequestTimeout"]

TIDY_EVERY: Seconds = 10.0
# By default oneDNN caches compiled kernels of 1,024 shapes. Almost every batch has a new shape, so the cache takes
# hundreds of MB without a gain. The variable is read when the first kernel is compiled.
KERNELS_KEPT = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
LONGEST_WAIT = 5  # maximum wait of a batch's first recording, in multiples of `Limits.batch_wait`


class BatchRecogniser(Protocol):
    """The part of `sap2.inference.Recogniser` that the engine uses."""

    def recognise(self, audio: Sequence[Any], keywords: Sequence[Sequence[str]]) -> list[Any]: ...


class QueueFull(Exception):
    """The queue is full; `retry_after` is the expected time until it has room."""

    def __init__(self, retry_after: Seconds):
        super().__init__(f"try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class EngineClosed(Exception):
    """The engine is stopping, has no model yet, or its thread has died."""


class RequestTimeout(Exception):
    """The request timed out in the queue."""


@dataclass(frozen=True)
class Answer:
    """A transcript, the name of its model, and the id under which it is stored, if any."""

    transcript: Any
    model: str
    id: str | None = None


@dataclass
class _Job:
    audio: Sized  # its length is the number of samples
    keywords: Sequence[str]
    until: float
    future: "Future[Answer]" = field(default_factory=Future)

    @property
    def duration(self) -> Seconds:
        return len(self.audio) / SAMPLE_RATE


class Engine:
    """Recognises submitted recordings in order of arrival.

    Args:
        limits: The bounds of the queue and of batches are used.
        observe: Called after each batch with its number of recordings, seconds of audio and seconds of computation.
    """

    def __init__(self, limits: Limits, observe: Callable[[int, Seconds, Seconds], None] = lambda *_: None):
        os.environ.setdefault(*KERNELS_KEPT)
        self._limits, self._observe = limits, observe
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._model: tuple[str, BatchRecogniser] | None = None
        self._closed = False
        self._seconds_each = 0.2  # of computation per recording: a moving average, for Retry-After
        self._thread = threading.Thread(target=self._work, name="recogniser", daemon=True)
        self._thread.start()

    @property
    def model(self) -> str | None:
        """Name of the model for the next batch."""
        current = self._model
        return current and current[0]

    @property
    def depth(self) -> int:
        """Number of queued recordings whose requests are not cancelled."""
        with self._changed:
            return sum(not job.future.cancelled() for job in self._waiting)

    @property
    def alive(self) -> bool:
        """Whether the worker thread is running; without it nothing can be recognised."""
        return self._thread.is_alive()

    def switch(self, name: str, model: BatchRecogniser) -> None:
        """Use another model from the next batch on; a batch in progress finishes with its model."""
        with self._changed:
            self._model = (name, model)
            self._changed.notify()

    def submit(self, recordings: Sequence[tuple[Sized, Sequence[str]]], timeout: Seconds) -> list["Future[Answer]"]:
        """Queue recordings with their keyword lists, either all or none.

        Raises: QueueFull: there is no room for all. EngineClosed: there is no model, or the engine is closed or dead.
        """
        until = time.monotonic() + timeout
        jobs = [_Job(audio, keywords, until) for audio, keywords in recordings]
        with self._changed:
            if self._closed or self._model is None or not self.alive:
                raise EngineClosed
            self._waiting = deque(job for job in self._waiting if not job.future.cancelled())
            if len(self._waiting) + len(jobs) > self._limits.queue:
                raise QueueFull(max(1.0, len(self._waiting) * self._seconds_each))
            self._waiting += jobs
            self._changed.notify()
        return [job.future for job in jobs]

    def close(self, patience: Seconds) -> None:
        """Reject new recordings, finish the queue, and stop; recordings not finished within `patience` fail."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)
        with self._changed:
            while self._waiting:
                _fail(self._waiting.popleft(), EngineClosed())

    def _work(self) -> None:
        tidied = time.monotonic()
        while True:
            batch = self._next()
            if batch is None:
                return
            try:
                wanted = [job for job in batch if self._still_wanted(job)]
                if wanted:
                    self._recognise(wanted)
            except Exception as error:  # the thread must survive any error
                print(f"serving: a batch of {len(batch)} failed: {error!r}", file=sys.stderr)
                for job in batch:
                    _fail(job, error)
            if time.monotonic() - tidied > TIDY_EVERY:
                _give_back_memory()
                tidied = time.monotonic()

    def _next(self) -> list[_Job] | None:
        """Wait for the next batch; None = the engine is closed and the queue is empty."""
        with self._changed:
            while not (self._waiting and self._model):
                if self._closed:
                    return None
                self._changed.wait()
            self._wait_for_batch()
            batch = [self._waiting.popleft()]
            duration = batch[0].duration
            while self._waiting and len(batch) < self._limits.max_batch:
                duration += self._waiting[0].duration
                if duration > self._limits.batch_duration:
                    break
                batch.append(self._waiting.popleft())
            return batch

    def _wait_for_batch(self) -> None:
        """Wait until the batch is full or arrivals cease; clients that got answers together send again together."""
        wait = self._limits.batch_wait
        latest = time.monotonic() + LONGEST_WAIT * wait
        while (here := len(self._waiting)) < self._limits.max_batch and not self._closed:
            left = min(wait, latest - time.monotonic())
            if left <= 0:
                return
            self._changed.wait(left)
            if len(self._waiting) <= here:
                return

    @staticmethod
    def _still_wanted(job: _Job) -> bool:
        if not job.future.set_running_or_notify_cancel():
            return False
        if time.monotonic() > job.until:
            job.future.set_exception(RequestTimeout())
            return False
        return True

    def _recognise(self, batch: list[_Job]) -> None:
        if self._model is None:  # unreachable: without a model nothing can be submitted
            raise EngineClosed
        name, model = self._model
        started = time.monotonic()
        try:
            transcripts = model.recognise([job.audio for job in batch], [job.keywords for job in batch])
            answers = [Answer(transcript, name) for _, transcript in zip(batch, transcripts, strict=True)]
        except Exception as error:  # the server must survive any error of a model
            if len(batch) > 1:  # a single recording may be the cause: recognise each by itself
                for job in batch:
                    self._recognise([job])
                return
            print(f"serving: a recording of {batch[0].duration:.1f} s failed: {error!r}", file=sys.stderr)
            batch[0].future.set_exception(error)
            return
        taken = time.monotonic() - started
        self._seconds_each += 0.2 * (taken / len(batch) - self._seconds_each)
        self._observe(len(batch), sum(job.duration for job in batch), taken)
        for job, answer in zip(batch, answers, strict=True):
            job.future.set_result(answer)


def _fail(job: _Job, error: Exception) -> None:
    """Set a job's exception, unless it is cancelled or already done."""
    with contextlib.suppress(InvalidStateError):
        job.future.set_exception(error)


def _give_back_memory() -> None:
    """Return freed memory that glibc retains to the system; with batches of varying size it would keep growing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # musl lacks it
        trim(0)
