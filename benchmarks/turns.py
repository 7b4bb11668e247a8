"""Processes that take steps in turn, so that other work on the machine slows all of them alike.

A worker prints `ready`, then reads a number of steps a line and answers each with a JSON object.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence


class Worker:
    """A benchmark's own script in a process that waits for its turns.

    Args:
        script: the script and its arguments.
        name: what to call it where it does not start.
        threads: the number of CPU threads.
        environment: further variables.
        python: the interpreter, of a peer's environment say.
    """

    def __init__(
        self,
        script: Sequence[str],
        name: str,
        threads: int = 1,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self._process = subprocess.Popen(
            [python, *script],
            env={**os.environ, **(environment or {}), "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._read() != "ready":
            raise SystemExit(f"{name}: the training did not start")

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def take(self, steps: int) -> dict[str, float]:
        """Take steps; what the process says of them."""
        assert self._process.stdin
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._read())
        return answer

    def end(self) -> None:
        """Let the process end."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
