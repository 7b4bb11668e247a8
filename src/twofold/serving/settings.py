"""How a server gathers, bounds and refuses."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Limits of a server.

    Attributes:
        max_batch: requests of one pass through the model, at most.
        max_waiting: requests that may wait for a pass; the next one is refused at once.
        gather_ms: how long an idle server waits for company before a pass, milliseconds.
        max_body: bytes of a request's body, at most.
        seconds: in which a body must arrive, and after it the answer must be there.
    """

    max_batch: int = 32
    max_waiting: int = 64
    gather_ms: float = 1.0
    max_body: int = 1 << 20
    seconds: float = 10.0
