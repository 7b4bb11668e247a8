"""`twofold search`."""

from typing import Annotated

import typer

from twofold.cli.options import History, Json, Model, TopK, parse_ids
from twofold.cli.show import show


def search(
    model: Model,
    query: Annotated[str, typer.Argument(help="The words to search for.")],
    k: TopK = 10,
    history: History = None,
    json: Json = False,
) -> None:
    """Find items for a query; a history makes the answer personal."""
    from twofold.retrieval.generative import load_model

    retriever = load_model(model)
    answer = retriever.search(query, k, parse_ids(history, retriever.model.catalog.positions))
    if answer.no_known_words:
        rests_on = "the history" if history else "parts of words and popularity"
        shown = query if len(query) <= _LONGEST else f"{query[:_LONGEST]}..."
        typer.echo(f"The model knows no word of '{shown}'; the items rest on {rests_on}.", err=True)
    show(answer, json)


_LONGEST = 100
"""The most characters of a query that a message repeats."""
