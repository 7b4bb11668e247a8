"""`twofold simulate-study`."""

from typing import Annotated

import typer

from twofold.cli.options import Config, Out, Resume, Settings, Threads, command_line


def simulate_study(
    world: Annotated[
        str,
        typer.Argument(
            help="popularity, popularity-search, latent-search-helps or "
            "latent-recommendation-helps."
        ),
    ],
    out: Out,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Number of worlds that are drawn at each level.")
    ] = 5,
    resume: Resume = False,
    config: Config = None,
    settings: Settings = None,
    threads: Threads = None,
) -> None:
    """Repeat one of the paper's simulations: train the arms at every level of a world."""
    from twofold.extras import require_extra

    require_extra("study", "a simulated study")
    from twofold.studies.cells import interval, number
    from twofold.studies.folder import StudyFolder
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
        command=command_line(),
    )
    for point in result["points"]:
        gain = point["gains"]["plain"]
        bounds = interval(gain["interval"], signed=True) if gain["interval"] else ""
        alone, joint = (number(point[name]["mean"]) for name in ("plain", "joint"))
        print(
            f"{result['parameter']} {point['level']:g}: alone {alone}, joint {joint}, "
            f"difference {number(gain['mean'], signed=True)} {bounds}".rstrip()
        )
    print(f"report: {StudyFolder(out).report}")
