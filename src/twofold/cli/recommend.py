"""`twofold recommend`."""

from typing import Annotated

import typer

from twofold.cli.options import Json, Model, TopK, parse_ids
from twofold.cli.show import show
from twofold.records import InputError


def recommend(
    model: Model,
    history: Annotated[
        str | None, typer.Option("--history", help="The user's item ids, oldest first: a,b,c.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="A user whose history is in the model folder."),
    ] = None,
    k: TopK = 10,
    json: Json = False,
) -> None:
    """Recommend the items that come next after a history."""
    from twofold.retrieval.generative import load_model

    if (history is None) == (user is None):
        raise InputError("recommend: give either --history a,b,c or --user ID")
    retriever = load_model(model)
    if user is not None:
        show(retriever.recommend_for_user(user, k), json)
    else:
        show(retriever.recommend(parse_ids(history), k), json)
