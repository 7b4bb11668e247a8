"""Arguments and options that several commands share."""

import json
import os
import shlex
import sys
from collections.abc import Container, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.tasks.prepared import PreparedDataset


class SplitName(StrEnum):
    """The ways to split interactions."""

    last = "last"
    temporal = "temporal"


class BudgetName(StrEnum):
    """The presets of a training."""

    quick = "quick"
    standard = "standard"
    paper = "paper"


DatasetArgument = Annotated[
    str,
    typer.Argument(
        help="Prepared folder, folder of tables, published dataset or its name, or simulate:NAME; "
        "twofold sources lists them."
    ),
]
Model = Annotated[Path, typer.Argument(help="Model folder.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist yet.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=1024, help="Number of CPU threads; all by default."),
]
Device = Annotated[str, typer.Option("--device", help="Device to compute on: cpu, cuda or auto.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")]
Budget = Annotated[BudgetName, typer.Option("--budget", help="Preset of the training settings.")]
Config = Annotated[Path | None, typer.Option("--config", help="JSON file with training settings.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Training setting as KEY=VALUE; may be repeated."),
]
TextEncoder = Annotated[
    str | None,
    typer.Option(
        "--text-encoder",
        help="Text encoder whose embeddings initialise queries and items: tfidf, the name or "
        "folder of a sentence-transformers model, tfidf+NAME for both, or none.",
    ),
]
MOST_RECIPES = 12
"""The number of recipes of a space; they are defined in `twofold.training.tuning.recipes`."""

Tune = Annotated[
    str | None,
    typer.Option(
        "--tune",
        help="Number of recipes (initial item embeddings, dropout, weight decay, learning rate, "
        "width, source weights) to choose from on validation, 1 to 12; none uses the fixed one. A "
        "study tries 9 by default, 6 with --budget quick, none with paper, and at most 3 for each "
        "seed.",
    ),
]
MaxSteps = Annotated[
    int | None,
    typer.Option(
        "--max-steps",
        min=1,
        help="Most steps of a training; by default early stopping ends it.",
    ),
]
MaxTime = Annotated[
    float | None,
    typer.Option(
        "--max-time",
        help="Largest number of minutes of a training; a run that ends by it is not reproducible.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TopK = Annotated[
    int, typer.Option("-k", help="Number of items to return; all items of a smaller catalog.")
]
History = Annotated[
    list[str] | None,
    typer.Option(
        "--history",
        help="The user's item ids, oldest first: a,b,c. May be repeated; an id with a comma is "
        "given alone, or in a JSON list.",
    ),
]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        help="ATTRIBUTE=VALUE that an item must have; may be repeated: several values of one "
        "attribute are alternatives.",
    ),
]
Split = Annotated[
    SplitName,
    typer.Option(
        "--split",
        help="Hold out each user's last events (last), or events from --cutoff on (temporal).",
    ),
]
Cutoff = Annotated[
    str | None,
    typer.Option(
        "--cutoff",
        help="Time for --split temporal: a timestamp as in the data, an ISO time or a date.",
    ),
]

SkipUnknown = Annotated[
    bool,
    typer.Option(
        "--skip-unknown",
        help="Leave out rows of interactions and qrels with an unknown item or query, when a "
        "source is read; left_out.jsonl of the prepared folder lists them.",
    ),
]


def print_notes(data: "PreparedDataset", source: str) -> None:
    """Print on stderr what was left out or assumed when the source was read; a prepared folder has
    these notes in its report.
    """
    from twofold import artifact

    if not artifact.is_complete(Path(source)):
        for note in data.notes:
            print(f"note: {note}", file=sys.stderr)


def parse_tune(value: str | None) -> int | None:
    """The number of recipes of `--tune`; 0 for `none`, None if the option is not given.

    Raises:
        InputError: the value is not a number of recipes.
    """
    if value is None or value == "none":
        return None if value is None else 0
    if not value.isdecimal() or not 1 <= int(value) <= MOST_RECIPES:
        raise InputError(f"--tune '{value}': choose a number from 1 to {MOST_RECIPES}, or none")
    return int(value)


def parse_ids(values: Sequence[str] | None, known: Container[str]) -> tuple[str, ...]:
    """The item ids of `--history`, which may be repeated.

    A value is one item id, a JSON list of ids, or ids that are separated by commas. An id may
    contain commas if the value can be read in only one way.

    Args:
        values: the values of the option, in order.
        known: the item ids of the catalog.

    Raises:
        InputError: a value can be read in two ways, or is a JSON list with an entry that is not an
            id.
    """
    return tuple(item for value in values or () for item in _ids_of(value, known))


def parse_filters(values: Sequence[str] | None) -> dict[str, list[str]]:
    """The values of each attribute of `--filter`, which may be repeated.

    Raises:
        InputError: a value is not ATTRIBUTE=VALUE.
    """
    filters: dict[str, list[str]] = {}
    for given in values or ():
        name, equals, value = given.partition("=")
        if not name or not equals:
            raise InputError(f"--filter '{given}': give ATTRIBUTE=VALUE, such as genre=western")
        filters.setdefault(name, []).append(value)
    return filters


def _ids_of(value: str, known: Container[str]) -> tuple[str, ...]:
    for whole in (value, value.strip()):
        if whole in known:
            return (whole,)
    if (listed := _json_ids(value)) is not None:
        return listed
    parts = value.split(",")
    readings = _readings(parts, known)
    if len(readings) > 1:
        first, second = (json.dumps(reading, ensure_ascii=False) for reading in readings)
        raise InputError(
            f"--history '{value}': is ambiguous: {first} or {second}; give one of these JSON "
            f"lists, or repeat --history for each item"
        )
    return readings[0] if readings else tuple(part.strip() for part in parts if part.strip())


def _json_ids(value: str) -> tuple[str, ...] | None:
    """The ids of a JSON list; None if the value is not a JSON list."""
    if not value.lstrip().startswith("["):
        return None
    try:
        listed = json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return None
    for item_id in listed:
        if isinstance(item_id, bool) or not isinstance(item_id, str | int):
            raise InputError(
                f"--history '{value}': {json.dumps(item_id)} is not an item id; "
                f'give a JSON list of ids, such as ["a", "b"]'
            )
    return tuple(str(item_id) for item_id in listed)


_LONGEST = 20
"""The largest number of commas in an id of a list that is separated by commas."""


def _readings(parts: Sequence[str], known: Container[str]) -> list[tuple[str, ...]]:
    """The first two ways to join adjacent parts by commas into known ids."""
    ways: list[list[tuple[str, ...]]] = [[()]]
    for start in reversed(range(len(parts))):
        readings = list(ways[0]) if not parts[start].strip() else []
        for width in range(1, min(_LONGEST + 1, len(parts) - start) + 1):
            item = ",".join(parts[start : start + width]).strip()
            if item in known:
                readings += [(item, *rest) for rest in ways[width - 1]]
        ways.insert(0, list(dict.fromkeys(readings))[:2])
    return ways[0]


def parse_time(option: str, value: str | None) -> float | None:
    """A time in seconds since 1970; None if the option is not given.

    Raises:
        InputError: the value is not a time.
    """
    if value is None:
        return None
    # Imported here, since only `recommend` with times needs it.
    from twofold.data.reading.time_values import is_seconds
    from twofold.tasks.cutoff import readings_of

    if not (meant := readings_of(value)):
        raise InputError(
            f"{option} '{value}': neither a number of seconds since 1970 nor an ISO time such as "
            f"2024-05-01T12:00:00"
        )
    return next((time for time in meant if is_seconds(time)), meant[-1])


def command_line() -> str:
    """The command of this process without --resume: an interrupted run that was resumed records
    the command of one that was not, and so has the same bytes.
    """
    return shlex.join(["twofold", *(part for part in sys.argv[1:] if part != "--resume")])


def set_threads(threads: int | None) -> None:
    """Set the number of CPU threads; call it before torch is imported.

    Idle threads sleep, so that a server's event loop can use their core.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)
