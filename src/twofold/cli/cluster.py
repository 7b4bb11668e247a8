"""`twofold cluster`: study, train, evaluate and serve on a Ray cluster."""

import inspect
from functools import partial
from typing import Annotated, Any

import typer

from twofold.cli import study as study_here
from twofold.cli import train as train_here
from twofold.cli.evaluate import evaluate_model, show_measures
from twofold.cli.options import Device, Json, Model, Out, Resume, SkipUnknown
from twofold.cli.serve import Host, KeyFile, State

cluster = typer.Typer(help="The commands of these names, on a Ray cluster.", rich_markup_mode=None)

Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="HOST:PORT of a running cluster, or auto on one of its machines. Without it, Ray runs "
        "on this machine until the command ends.",
    ),
]


def study(context: typer.Context, address: Address = None, **options: Any) -> None:
    """`twofold study` whose trainings run at once on the machines of a Ray cluster, each with one
    thread by default. All machines need Twofold, and the folder of --out at the same path."""
    from twofold.cluster.connection import connected

    with connected(address):
        from twofold.cluster.study import RayExecutor

        context.obj = RayExecutor()
        study_here.study(context, **options)


def train(
    out: Out,
    address: Address = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, help="Processes that train together.", metavar="N"),
    ] = 2,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="CPU threads of each worker.")
    ] = 1,
    device: Device = "cpu",
    resume: Resume = False,
    **options: Any,
) -> None:
    """`twofold train` in several processes of a Ray cluster, which are restarted from the last
    state if one is lost. All machines need Twofold, the dataset, and the folder of --out at the
    same path."""
    from twofold import artifact
    from twofold.cluster.connection import connected

    if not resume:
        artifact.require_absent(out)
    with connected(address):
        from twofold.cluster.train import train_on_ray

        options |= {"out": out, "threads": threads, "device": device, "resume": True}
        command = partial(train_here.train, **options)
        print(train_on_ray(command, out, workers, threads, device, resume), end="")


def _with_options_of(command: Any, wrapper: Any) -> Any:
    """The wrapper with its own options and with the command's options, which it passes to the
    command.
    """
    declared = inspect.signature(wrapper).parameters.values()
    own = [each for each in declared if each.kind is not inspect.Parameter.VAR_KEYWORD]
    names = {each.name for each in own}
    passed_on = [
        each for each in inspect.signature(command).parameters.values() if each.name not in names
    ]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in [*own, *passed_on]]
    wrapper.__signature__ = inspect.Signature(parameters)
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapper


cluster.command()(_with_options_of(study_here.study, study))
cluster.command()(_with_options_of(train_here.train, train))


@cluster.command()
def evaluate(
    model: Model,
    dataset: Annotated[str, typer.Argument(help="The dataset with the test requests.")],
    out: Out,
    address: Address = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Copies of the model that answer in parallel; as many as fit on the cluster by "
            "default.",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="CPU threads of each worker.")
    ] = 1,
    device: Device = "cpu",
    skip_unknown: SkipUnknown = False,
    json: Json = False,
) -> None:
    """Score a model on a dataset's test requests, which the machines of a Ray cluster answer; every
    machine needs the model folder at the same path."""
    from twofold import artifact
    from twofold.cluster.connection import connected

    artifact.require_absent(out)
    with artifact.claim(out), connected(address):
        from twofold.cluster.evaluate import RayRetriever

        evaluate_model(
            model,
            dataset,
            out,
            "cpu",
            skip_unknown,
            lambda own: RayRetriever(own, model, workers, threads, device),
        )
    show_measures(out, json)


@cluster.command()
def serve(
    model: Model,
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, help="Number of processes that answer.")
    ] = 1,
    address: Address = None,
    host: Host = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port of the HTTP proxies.")
    ] = 8000,
    state: State = None,
    api_key_file: KeyFile = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", min=1, help="CPU threads of a replica, which reserves as many cores."
        ),
    ] = 1,
    device: Device = "cpu",
) -> None:
    """Serve a model folder by Ray Serve; every machine needs the folder at the same path. With
    --address the service stays when the command returns."""
    from twofold.cluster.serve import serve_on_ray
    from twofold.serving.http.keys import keys_for

    serve_on_ray(
        model,
        replicas=replicas,
        address=address,
        host=host,
        port=port,
        state=state,
        keys=keys_for(host, api_key_file),
        threads=threads,
        device=device,
    )
