"""Limits on requests and batches, which bound a server's load and memory."""

from dataclasses import dataclass

from sap2.constants import Seconds

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds of a request, of the queue and of a batch.

    Attributes:
        max_bytes: Maximum size of a request's body.
        max_duration: Maximum length of a recording.
        max_keywords: Maximum number of keywords in a list.
        max_files: Maximum number of recordings in a batch request.
        timeout: Maximum time from a request's arrival to its response.
        queue: Maximum number of queued recordings; more are rejected with 429.
        max_batch: Maximum number of recordings in a batch; 1 = no micro-batching.
        batch_duration: Maximum length of all recordings in a batch together.
        batch_wait: Time without a new recording after which an incomplete batch starts; the first recording of a batch
            waits at most `LONGEST_WAIT` times as long.
    """

    max_bytes: int = 64 << 20
    max_duration: Seconds = 600.0
    max_keywords: int = 2000
    max_files: int = 32
    timeout: Seconds = 120.0
    queue: int = 64
    max_batch: int = 16
    batch_duration: Seconds = 480.0
    batch_wait: Seconds = 0.01
