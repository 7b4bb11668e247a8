"""`twofold export`."""

from pathlib import Path
from typing import Annotated

import typer

from twofold.cli.options import Model, Out

State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        exists=True,
        file_okay=False,
        help="Folder with catalog changes of `items` or `serve`, which are exported as well.",
    ),
]


def export(model: Model, out: Out, state: State = None) -> None:
    """Write a decoder with semantic IDs for an inference engine with wide beams on GPUs."""
    from twofold import artifact
    from twofold.model.export import export_model, require_exportable
    from twofold.serving.engines.catalog_engine import load_engine

    artifact.require_absent(out)
    with artifact.claim(out):
        engine = load_engine(model, model.name, state)
        try:
            retriever = engine.retriever
            require_exportable(retriever.model, str(model))
            export_model(retriever.model, model / "backbone", retriever.alive, out)
        finally:
            engine.close()
    tasks = " and ".join(retriever.model.tasks)
    print(f"{engine.items:,} items for {tasks} in {out}; see docs/guides/export.md")
