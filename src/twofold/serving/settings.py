"""Limits of a server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Limits of a server.

    Attributes:
        max_batch_size: requests that the model answers together, at most.
        max_queue_size: requests that may be queued; further ones get 429 at once.
        batch_window_ms: how long an idle server collects requests into a batch, milliseconds.
        max_body_bytes: size of a request's body, at most.
        timeout_seconds: time for the body to arrive, and then again for the answer.
    """

    max_batch_size: int = 32
    max_queue_size: int = 64
    batch_window_ms: float = 1.0
    max_body_bytes: int = 1 << 20
    timeout_seconds: float = 10.0
