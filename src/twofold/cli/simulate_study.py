"""`twofold simulate-study`."""

import shlex
import sys
from typing import Annotated

import typer

from twofold.cli.options import Config, Out, Resume, Settings, Threads


def simulate_study(
    world: Annotated[
        str,
        typer.Argument(
            help="popularity, popularity-search, latent-search-helps or "
            "latent-recommendation-helps."
        ),
    ],
    out: Out,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Worlds drawn at each level.")] = 5,
    resume: Resume = False,
    config: Config = None,
    settings: Settings = None,
    threads: Threads = None,
) -> None:
    """Repeat one of the paper's simulations: the arms at every level of what the world varies."""
    from twofold.studies.simulation import simulate_study as run
    from twofold.studies.simulation import world_named
    from twofold.training.config import resolve_config

    resolved = resolve_config(
        "quick", config, tuple(settings or ()), base=world_named(world).config.model_dump()
    )
    result = run(
        world,
        out=out,
        seeds=seeds,
        config=resolved,
        resume=resume,
        threads=threads,
        command=shlex.join(["twofold", *sys.argv[1:]]),
    )
    for point in result["points"]:
        gain = point["gains"]["plain"]
        interval = "[{:+.4f}, {:+.4f}]".format(*gain["interval"]) if gain["interval"] else ""
        print(
            f"{result['parameter']} {point['level']:g}: alone {point['plain']['mean']:.4f}, joint "
            f"{point['joint']['mean']:.4f}, difference {gain['mean']:+.4f} {interval}".rstrip()
        )
    print(f"report: {out / 'report.html'}")
