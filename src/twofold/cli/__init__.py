"""The command line: one file for each verb. Heavy imports are inside the commands."""

import logging
import sys
from typing import Any

import typer

from twofold.cli import (
    cluster,
    evaluate,
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

# Typer carries a click of its own in newer versions: take the class from there, not from click.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    help="One generative model for search and recommendation, and whether joining them helps.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
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
app.command()(mcp.mcp)
app.command()(openapi.openapi)
app.add_typer(items.items, name="items")
app.add_typer(cluster.cluster, name="cluster")


def main() -> None:
    """Run a command; a user's mistake is one line on stderr and exit code 2."""
    logger = logging.getLogger("twofold")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.setLevel(logging.INFO)
    try:
        arguments = sys.argv[1:] or ["--help"]
        sys.exit(app(arguments, standalone_mode=False) or 0)
    except InputError as error:
        _fail(str(error))
    except _UsageError as error:
        _fail(error.format_message())
    except ModuleNotFoundError as error:
        from twofold.extras import missing_extra

        missing = missing_extra(error, "this command")
        if missing is None:
            raise
        _fail(str(missing))
    except OSError as error:
        _fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; rerun a study or a training with --resume to continue", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> None:
    print(f"twofold: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
