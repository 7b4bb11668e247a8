"""The command line: one file for each command or group; `options` and `show` are shared.

Large libraries are imported inside the commands.
"""

import errno
import io
import logging
import os
import re
import shlex
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

from twofold.artifact import FULL_DISK, at_home, versions
from twofold.cli import (
    cluster,
    evaluate,
    export,
    items,
    mcp,
    openapi,
    prepare,
    recommend,
    report,
    search,
    serve,
    simulate_study,
    sources,
    study,
    train,
)
from twofold.records import InputError

# Newer versions of Typer contain their own click, so the class is taken from Typer's.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"twofold {versions().get('twofold', '(not installed)')}")
        raise typer.Exit


@app.callback()
def _twofold(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """One generative model for search and recommendation, and a study of joint training."""


app.command()(prepare.prepare)
app.command()(sources.sources)
app.command()(study.study)
app.command()(report.report)
app.command()(simulate_study.simulate_study)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(search.search)
app.command()(recommend.recommend)
app.command()(serve.serve)
app.command()(export.export)
app.command()(mcp.mcp)
app.command()(openapi.openapi)
app.add_typer(items.items, name="items")
app.add_typer(cluster.cluster, name="cluster")


_RESUMABLE = ("train", "study", "simulate-study")
_SERVERS = ("serve", "mcp")
_INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run a command; an error of the user is one line on stderr, with exit code 2."""
    logger = logging.getLogger("twofold")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # other characters are escaped
            stream.reconfigure(errors="backslashreplace")
    arguments = _at_home(sys.argv[1:]) or ["--help"]
    try:
        os.getcwd()  # in a folder that was removed, libraries fail in ways of their own
    except OSError:
        _fail("the current folder was removed; change to one that exists")
    try:
        code = app(arguments, standalone_mode=False) or 0
    except InputError as error:
        _fail(str(error))
    except _UsageError as error:
        more = "; quote a value with spaces" if "extra argument" in error.format_message() else ""
        _fail(f"{error.format_message()}{more}")
    except ModuleNotFoundError as error:
        from twofold.extras import missing_extra

        missing = missing_extra(error, "this command")
        if missing is None:
            raise
        _fail(str(missing))
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        problem = _system_problem(error, arguments)
        if problem is None:
            raise
        _fail(problem)
    # Typer converts an interrupt to this exit code.
    if code == _INTERRUPTED and _verb(arguments) not in _SERVERS:
        print(f"interrupted: to continue, {_remedy(arguments)}", file=sys.stderr)
    sys.exit(code)


def _at_home(arguments: list[str]) -> list[str]:
    """The arguments with the home folder for `~` in options such as `--out=~/model`, since a shell
    replaces it only at the beginning of a word.
    """
    read: list[str] = []
    for argument in arguments:
        option, _, value = argument.partition("=")
        if value.startswith("~") and option in _PATHS:
            argument = f"{option}={at_home(value)}"
        elif argument.startswith("~") and read and read[-1] in _PATHS:
            argument = str(at_home(argument))
        read.append(argument)
    return read


_PATHS = ("--out", "--config", "--run", "--qrels", "--state", "--study", "--api-key-file")
"""The options whose value is a path."""


_SHORT = {
    errno.EFBIG: ("a file exceeds its size limit", "raise ulimit -f, or use another disk"),
    errno.EMFILE: ("too many files are open", "raise ulimit -n"),
    errno.ENOMEM: (
        "there is not enough memory",
        "raise ulimit -v or the limit of the container, or use fewer --workers and --threads, or "
        "smaller batches (--set batch_tokens=N)",
    ),
}
"""Error of the system -> what is short, and the remedy."""


def _verb(arguments: list[str]) -> str:
    """The name of the command, without its group."""
    return next((name for name in arguments if name != "cluster"), "")


def _remedy(arguments: list[str]) -> str:
    """The instruction to continue an interrupted command."""
    resumed = arguments
    if _verb(arguments) in _RESUMABLE and "--resume" not in arguments:
        resumed = [*arguments, "--resume"]
    return f"run: {shlex.join(['twofold', *resumed])}"


def _system_problem(error: Exception, arguments: list[str]) -> str | None:
    """The problem and the remedy, if the system refused a request; None for any other error."""
    if disk_is_full(error):
        return f"the disk is full ({error}); free some space, then {_remedy(arguments)}"
    for number, (problem, remedy) in _SHORT.items():
        if _says(error, number) or (number == errno.ENOMEM and isinstance(error, MemoryError)):
            return f"{problem} ({error}); {remedy}"
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
    return None


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, is that the disk or the quota is full."""
    return _says(error, *FULL_DISK, more=_CUT_SHORT)


def _says(error: BaseException | None, *numbers: int, more: str = "(?!)") -> bool:
    """Whether an error or a cause of it is a system error with one of the numbers, or matches
    `more`.

    Libraries in Rust or C raise their own errors when they write files, with the system's messages.
    """
    words = re.compile("|".join([*map(os.strerror, numbers), more]))
    while error is not None:
        if (isinstance(error, OSError) and error.errno in numbers) or words.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


_CUT_SHORT = "^[0-9]+ requested and [0-9]+ written"
"""numpy's message if a file could not be written completely."""


def _fail(message: str) -> NoReturn:
    print(f"twofold: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
