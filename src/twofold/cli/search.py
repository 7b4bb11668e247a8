"""`twofold search`."""

from typing import Annotated

import typer

from twofold.cli.options import Json, Model, TopK, parse_ids
from twofold.cli.show import show


def search(
    model: Model,
    query: Annotated[str, typer.Argument(help="The words to search for.")],
    k: TopK = 10,
    history: Annotated[
        str | None, typer.Option("--history", help="The user's item ids, oldest first: a,b,c.")
    ] = None,
    json: Json = False,
) -> None:
    """Find items for a query; a history makes the answer personal."""
    from twofold.retrieval.generative import load_model

    show(load_model(model).search(query, k, parse_ids(history)), json)
