"""Arguments and options that several commands share."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
        help="Prepared folder, folder of tables, MovieLens folder or name, or simulate:NAME."
    ),
]
Model = Annotated[Path, typer.Argument(help="Model folder.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist yet.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Number of CPU threads; all by default.")
]
Device = Annotated[str, typer.Option("--device", help="Device to compute on: cpu, cuda or auto.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")]
Budget = Annotated[BudgetName, typer.Option("--budget", help="Preset that sets how long to train.")]
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
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TopK = Annotated[int, typer.Option("-k", help="Number of items to return.")]
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
        "--cutoff", help="Time for --split temporal: a timestamp as in the data, or an ISO time."
    ),
]


def parse_ids(text: str | None) -> tuple[str, ...]:
    """The item ids of `a,b,c`."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def set_threads(threads: int | None) -> None:
    """Set the number of CPU threads; call it before torch is loaded.

    Waiting threads sleep, so that they leave their core to a server's event loop.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)
