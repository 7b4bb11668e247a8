"""`twofold study`."""

import shlex
import sys
from typing import Annotated

import typer

from twofold.cli.options import (
    BudgetName,
    Config,
    Device,
    Json,
    Out,
    Resume,
    Settings,
    Source,
    Threads,
)


def study(
    dataset: Source,
    out: Out,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Models of each arm.")] = 3,
    budget: Annotated[
        BudgetName, typer.Option("--budget", help="How long to train: a preset.")
    ] = BudgetName.standard,
    sesoi: Annotated[
        float,
        typer.Option("--sesoi", min=0, help="Smallest effect of interest, share of plain arm."),
    ] = 0.05,
    resume: Resume = False,
    config: Config = None,
    settings: Settings = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Does one task help the other? Train the arms, compare them, write a report."""
    from pathlib import Path

    from twofold import artifact
    from twofold.studies.report import verdict_sentence
    from twofold.studies.study import study as run
    from twofold.tasks.prepare import load_dataset, save_dataset
    from twofold.training.config import resolve_config

    resolved = resolve_config(budget.value, config, tuple(settings or ()))
    prepared = out / "dataset"
    if artifact.is_complete(Path(dataset)):
        data = load_dataset(dataset)
    elif resume and artifact.is_complete(prepared):
        data = load_dataset(prepared)
    else:
        if not resume:
            artifact.require_absent(out)
        data = load_dataset(dataset)
        save_dataset(data, prepared)
    result = run(
        data,
        out=out,
        seeds=seeds,
        config=resolved,
        budget=budget.value,
        sesoi=sesoi,
        resume=resume,
        device=device,
        threads=threads,
        command=shlex.join(["twofold", *sys.argv[1:]]),
    )
    if json:
        print((out / "study.json").read_text(encoding="utf-8"), end="")
        return
    for task in result.verdicts:
        print(f"{task}: {verdict_sentence(result.result, task)}")
    print(f"report: {out / 'report.html'}")
