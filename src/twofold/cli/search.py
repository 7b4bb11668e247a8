"""`twofold search`."""

from typing import Annotated

import typer

from twofold.cli.options import Filter, History, Json, Model, TopK, parse_filters, parse_ids
from twofold.cli.show import one_line, show


def search(
    model: Model,
    query: Annotated[str, typer.Argument(help="The words to search for.")],
    k: TopK = 10,
    history: History = None,
    filter: Filter = None,
    json: Json = False,
) -> None:
    """Search items by a query; a history makes the ranking personal."""
    from twofold.retrieval.generative import load_model

    filters = parse_filters(filter)
    retriever = load_model(model)
    ids = parse_ids(history, retriever.model.catalog.positions)
    answer = retriever.search(query, k, ids, filters=filters)
    if answer.no_known_words:
        used = f"subwords and {'the history' if history else 'popularity'}"
        shown = one_line(query if len(query) <= _LONGEST else f"{query[:_LONGEST]}...")
        message = f"No word of '{shown}' is known to the model; the ranking uses {used} alone."
        typer.echo(message, err=True)
    show(answer, json, filters)


_LONGEST = 100
"""The largest number of characters of a query in a message."""
