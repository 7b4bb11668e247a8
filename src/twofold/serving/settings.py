"""Limits of a server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Limits of a server.

    Attributes:
        max_batch_size: the largest number of requests that the model answers together.
        max_queue_size: the largest number of queued requests; further ones get 429 at once.
        batch_window_ms: how long an idle server collects requests into a batch, in milliseconds.
        max_body_bytes: the largest size of a request's body.
        timeout_seconds: the time limit for receiving the body, and again for the answer.
    """

    max_batch_size: int = 32
    max_queue_size: int = 64
    batch_window_ms: float = 1.0
    max_body_bytes: int = 1 << 20
    timeout_seconds: float = 10.0
