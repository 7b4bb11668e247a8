"""Freed memory stays with the process, and the collector is off while models load."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import torch
from twofold.serving.http.process import use_one_heap
if sys.argv[1] == "keep":
    use_one_heap()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for rows in range(1000, 1060):  # as batches do, which differ in length
    read = torch.ones(rows, 1 << 11)
    wide = torch.cat([read, (read * 2).relu()])
    del read, wide
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(way: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, way], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is part of glibc")
def test_pages_are_not_asked_for_again() -> None:
    assert _faults("keep") < _faults("leave") / 2
