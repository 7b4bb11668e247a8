"""`twofold train`."""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twofold.cli.options import (
    Budget,
    BudgetName,
    Config,
    DatasetArgument,
    Device,
    MaxSteps,
    MaxTime,
    Out,
    Resume,
    Settings,
    SkipUnknown,
    TextEncoder,
    Threads,
    Tune,
    parse_tune,
    print_notes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twofold.model.stamp import Stamp
    from twofold.retrieval.generative import GenerativeRetriever
    from twofold.training.state import Processes

Backbone = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="decoder:SIZE, t5:SIZE or sasrec:SIZE for fresh weights (tiny, small, medium, base), "
        "or the name or folder of a checkpoint.",
    ),
]
Histories = Annotated[
    bool,
    typer.Option(
        "--histories/--no-histories",
        help="Keep the users' histories in the model folder, for recommend --user.",
    ),
]

Accumulation = Annotated[
    int,
    typer.Option(
        "--gradient-accumulation-steps",
        min=1,
        help="Micro-batches of a batch, which a process reads one after another; more take less "
        "memory, and the batch stays the same.",
    ),
]

ArmName = Annotated[
    str, typer.Option("--arm", help="Arm to train: joint, search or recommendation.")
]

IdentifierKind = Annotated[
    str | None, typer.Option("--identifiers", help="Kind of identifiers: atomic or semantic.")
]


def train(
    dataset: DatasetArgument,
    out: Out,
    arm: ArmName = "joint",
    identifiers: IdentifierKind = None,
    backbone: Backbone = None,
    text_encoder: TextEncoder = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Random seed.")] = 0,
    budget: Budget = BudgetName.standard,
    max_steps: MaxSteps = None,
    max_time: MaxTime = None,
    config: Config = None,
    settings: Settings = None,
    device: Device = "auto",
    threads: Threads = None,
    resume: Resume = False,
    histories: Histories = True,
    tune: Tune = None,
    skip_unknown: SkipUnknown = False,
    gradient_accumulation_steps: Accumulation = 1,
) -> None:
    """Train one model into a folder; under torchrun, with many processes."""
    from twofold import artifact
    from twofold.tasks.storage import load_dataset
    from twofold.training.config import resolve_config

    named: dict[str, Any] = {
        "identifiers": identifiers,
        "backbone": backbone,
        "text_encoder": text_encoder,
        "max_steps": max_steps,
        "max_time": max_time,
    }
    with _processes(device, gradient_accumulation_steps) as processes:
        recipes, given = parse_tune(tune), tuple(settings or ())
        resolved = processes.on_every_rank(
            lambda: resolve_config(budget.value, config, given, **named)
        )
        with processes.entered(artifact.claim(out)):
            data = processes.on_every_rank(lambda: load_dataset(dataset, skip_unknown=skip_unknown))
            if not processes.rank:
                print_notes(data, dataset)
            retriever = _trainer(recipes, budget)(
                data,
                arm,
                out=out,
                config=resolved,
                seed=seed,
                device=device,
                threads=threads,
                resume=resume or processes.is_restarted,
                histories=histories,
                processes=processes,
            )
    if not processes.rank:
        stamp = retriever.model.stamp
        print(f"{out}: best at step {stamp.best_step} of {stamp.steps}, {_validated(stamp, arm)}")


def _processes(device: str, accumulation: int) -> "AbstractContextManager[Processes]":
    """The processes that a launcher such as torchrun started; without a launcher, this process
    alone.
    """
    if "WORLD_SIZE" not in os.environ and accumulation == 1:
        from twofold.training.state import ALONE

        return nullcontext(ALONE)
    from twofold.cluster.processes import joined

    return joined(device, accumulation)


def _trainer(recipes: int | None, budget: BudgetName) -> "Callable[..., GenerativeRetriever]":
    """The function that trains with the fixed recipe, or with the best of `recipes` recipes."""
    if not recipes:
        from twofold.training.train import train as train_with_fixed_recipe

        return train_with_fixed_recipe
    from twofold.training.tuning.recipes import recipes_to_try
    from twofold.training.tuning.trials import train_tuned

    return partial(train_tuned, recipes=recipes_to_try(recipes, budget.value))


def _validated(stamp: "Stamp", arm: str) -> str:
    """The validation of the saved weights, and the tasks without validation requests."""
    from twofold.training.arm import named_arm

    point = stamp.curve[-1] if stamp.curve else {}
    without = [task for task in named_arm(arm).tasks if task not in point]
    if not without:
        return f"validation {_measured(stamp, point)}"
    from twofold.tasks.evaluate import NEEDS

    if "value" not in point:
        needed = "; ".join(NEEDS[task] for task in without)
        return f"the last step, without validation, since there is no validation request: {needed}"
    alone = "".join(f" (no validation request for {task}: {NEEDS[task]})" for task in without)
    return f"validation {_measured(stamp, point)}{alone}"


def _measured(stamp: "Stamp", point: "Mapping[str, float]") -> str:
    """The validation of the saved weights, and how it differs from the validations in the log,
    which show each task on a sample of the requests.

    Args:
        stamp: the model's stamp.
        point: its last validation.
    """
    from twofold.records import TASKS
    from twofold.training.config import SELECTION

    several = all(task in point for task in TASKS)
    more = any("on_all" in each for each in stamp.curve)
    said = ["mean of both tasks"] if several else []
    said += ["on more requests than in the log"] if more else []
    return f"{SELECTION} {stamp.best_value:.4f}" + (f" ({', '.join(said)})" if said else "")
