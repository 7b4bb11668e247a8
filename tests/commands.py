"""The command line as people type it: in a process of its own, or in this one, which has torch."""

import io
import logging
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from twofold.cli import main

COMMAND = [sys.executable, "-c", "from twofold.cli import main; main()"]


def run_alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def run_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in this process: seconds less, for one that leaves nothing behind in it."""
    out, errors, code = io.StringIO(), io.StringIO(), 0
    handlers = logging.getLogger("twofold").handlers
    before = list(handlers)
    with (
        mock.patch.object(sys, "argv", ["twofold", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        finally:
            handlers[:] = before
    return subprocess.CompletedProcess(
        [str(a) for a in arguments], code, out.getvalue(), errors.getvalue()
    )


def failing(done: subprocess.CompletedProcess[str]) -> str:
    """What a user is told of a mistake: one line, with exit code 2."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("twofold: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def mistake(*arguments: object) -> str:
    """What is said of a command that is its user's mistake, run in this process."""
    return failing(run_here(*arguments))
