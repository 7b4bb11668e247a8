"""`twofold recommend`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from twofold.cli.options import (
    Filter,
    History,
    Json,
    Model,
    TopK,
    parse_filters,
    parse_ids,
    parse_time,
)
from twofold.cli.show import show
from twofold.records import InputError


class SeenName(StrEnum):
    """Whether a recommendation may be an item of the history."""

    exclude = "exclude"
    keep = "keep"


def recommend(
    model: Model,
    history: History = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="A user whose history is in the model folder."),
    ] = None,
    seen: Annotated[
        SeenName | None,
        typer.Option(
            "--seen",
            help="Whether to exclude or keep the items of the history; by default as in the "
            "evaluation of the model's dataset, which keeps them where users repeat items.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="Time of the request, for a model that was trained with request_time: "
            "seconds since 1970, an ISO time or a date.",
        ),
    ] = None,
    last_event: Annotated[
        str | None,
        typer.Option("--last-event", help="Time of the last event of the history; needs --at."),
    ] = None,
    k: TopK = 10,
    filter: Filter = None,
    json: Json = False,
) -> None:
    """Recommend the items that come next after a history."""
    from twofold.retrieval.generative import load_model

    if (not history) == (user is None):
        raise InputError("recommend: give either --history a,b,c or --user ID")
    time, last = parse_time("--at", at), parse_time("--last-event", last_event)
    filters, kept = parse_filters(filter), seen.value if seen else None
    retriever = load_model(model)
    options: Any = {"seen": kept, "filters": filters, "time": time, "last_event_time": last}
    if user is not None:
        answer = retriever.recommend_for_user(user, k, **options)
    else:
        ids = parse_ids(history, retriever.model.catalog.positions)
        answer = retriever.recommend(ids, k, **options)
    show(answer, json, filters)
