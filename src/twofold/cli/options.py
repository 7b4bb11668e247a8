"""Arguments and options that several commands share."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class SplitName(StrEnum):
    """How interactions are split."""

    last = "last"
    temporal = "temporal"


class BudgetName(StrEnum):
    """Presets of the training."""

    quick = "quick"
    standard = "standard"
    paper = "paper"


Source = Annotated[
    str,
    typer.Argument(
        help="A prepared folder, a folder of tables, a MovieLens folder or name, or simulate:NAME."
    ),
]
Model = Annotated[Path, typer.Argument(help="A model folder.")]
Out = Annotated[Path, typer.Option("--out", help="The folder to write; it must not exist yet.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads of the processor; all by default.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what a stopped run left.")]
Budget = Annotated[BudgetName, typer.Option("--budget", help="How long to train: a preset.")]
Config = Annotated[Path | None, typer.Option("--config", help="A JSON file of training settings.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE, a training setting; may be given many times."),
]
TextEncoder = Annotated[
    str | None,
    typer.Option(
        "--text-encoder",
        help="Text encoder whose embeddings initialise queries and items: tfidf, the name or "
        "folder of a sentence-transformers model, tfidf+NAME for both, or none.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a machine to read.")]
Answers = Annotated[int, typer.Option("-k", help="How many items to return.")]
Split = Annotated[
    SplitName,
    typer.Option("--split", help="Hold out each user's last events, or all from a time on."),
]
Cutoff = Annotated[
    str | None,
    typer.Option("--cutoff", help="For --split temporal: a timestamp as in the data, or ISO."),
]


def parse_ids(text: str | None) -> tuple[str, ...]:
    """Item ids from `a,b,c`."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def settle_threads(threads: int | None) -> None:
    """Before torch is loaded: threads that wait must not keep a core from the event loop."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)
