"""`twofold recommend`."""

from typing import Annotated

import typer

from twofold.cli.options import History, Json, Model, TopK, parse_ids
from twofold.cli.show import show
from twofold.records import InputError


def recommend(
    model: Model,
    history: History = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="A user whose history is in the model folder."),
    ] = None,
    k: TopK = 10,
    json: Json = False,
) -> None:
    """Recommend the items that come next after a history."""
    from twofold.retrieval.generative import load_model

    if (not history) == (user is None):
        raise InputError("recommend: give either --history a,b,c or --user ID")
    retriever = load_model(model)
    if user is not None:
        show(retriever.recommend_for_user(user, k), json)
    else:
        ids = parse_ids(history, retriever.model.catalog.positions)
        show(retriever.recommend(ids, k), json)
