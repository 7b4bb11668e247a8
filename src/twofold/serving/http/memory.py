"""What a server does with memory that a pass has freed: it keeps it for the next one."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Of mallopt(3), glibc's malloc.h."""
_LARGEST = 32 << 20
"""Bytes; the most that glibc takes from its heap instead of the system."""
_KEPT = 1 << 30


def keep_freed_memory() -> None:
    """Let freed memory stay with the process, in one heap; before any other thread starts.

    glibc returns large blocks to the system, which clears them when asked again: 80,000
    pages a second in passes of 32, a tenth of their time. Elsewhere nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(_ARENA_MAX, 1)  # heaps of other threads are unmapped as they empty
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)
