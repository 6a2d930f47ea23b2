"""What a server takes on, so that no request can take it down."""

from dataclasses import dataclass

from sap2.constants import Seconds

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds of a request, and of all of them together.

    Attributes:
        max_bytes: Of a request's body.
        max_duration: Of a recording.
        max_keywords: Of a list.
        max_files: Recordings in one batch request.
        timeout: From a request's arrival to its answer.
        queue: Recordings that wait; further ones are refused with 429.
        max_batch: Recordings that are recognised together; 1 = no micro-batching.
        batch_duration: Audio that is recognised together, whatever the number of recordings.
        batch_wait: How long the last of a batch waits for company; the first at most `LONGEST_WAIT` times as long.
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
