"""The schemas of the API's requests and responses."""

from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from twofold.records import Seen
from twofold.serving.engines.engine import ModelVersion
from twofold.serving.engines.engine import ServedModel as ServedModel

MAX_ITEMS = 1000
"""Limit of items in one answer, in one history and in one list of candidates."""
MAX_REQUESTS = 100
"""Limit of requests in one batch."""
MAX_BATCH_ITEMS = 5000
"""Limit of the sum of `k` over the requests of one batch. Serialising this many items blocks the
event loop for 7 to 15 ms, on one core that it shares with the engines; a full garbage collection,
which other requests cause as well, takes 30 ms.
"""

ItemId = Annotated[str, Field(min_length=1, max_length=512)]
ModelName = Annotated[str, Field(max_length=512)]
Query = Annotated[
    str, Field(min_length=1, max_length=2000, pattern=r"\S", examples=["slow space opera"])
]
History = Annotated[
    list[ItemId],
    Field(max_length=MAX_ITEMS, description="item ids, oldest first", examples=[["1", "260"]]),
]
Value = Annotated[str, Field(max_length=512)]
Filters = Annotated[
    dict[Value, Value | Annotated[list[Value], Field(min_length=1, max_length=MAX_ITEMS)]],
    Field(
        max_length=20,
        description="attribute -> a value, or several values of which an item must have one; where "
        "the catalog joins several values by |, an item has each of them",
        examples=[{"genres": ["Comedy", "Drama"]}],
    ),
]


def _number(value: object) -> object:
    """Refuse true and false, which pydantic takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("a number is expected, not true or false")
    return value


NotBool = pydantic.BeforeValidator(_number)


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class NoParameters(_Body):
    """The parameters of a path that has none: all that it reads is in the body."""


class ModelParameter(_Body):
    """The parameter of a path that names a model."""

    model: ModelName | None = Field(
        None, description="name of a served model; the first one by default"
    )


class SimilarParameters(ModelParameter):
    """How many similar items."""

    k: int = Field(10, ge=1, le=MAX_ITEMS)


class TitlesParameters(ModelParameter):
    """A part of a title, and how many items."""

    q: str = Field("", max_length=200, description="a part of a title")
    k: int = Field(10, ge=1, le=100)


class Choice(_Body):
    """Which items may be returned, and how many."""

    k: Annotated[int, NotBool] = Field(
        10, ge=1, le=MAX_ITEMS, description="how many items to return"
    )
    exclude: list[ItemId] = Field(
        [], max_length=MAX_ITEMS, description="items that must not be returned"
    )
    filters: Filters = {}
    seen: Seen | None = Field(
        None,
        description="whether items of the history are excluded from the answer; by default as in "
        "the model's dataset for a history alone, and `keep` where there is a query",
    )
    model: ModelName | None = Field(
        None, description="name of a served model; the first one by default"
    )


class Timed(_Body):
    """The times of the last event and of the request, for models that read them."""

    time: Annotated[float | None, NotBool] = Field(
        None,
        examples=[1767225600],
        description="when the request is made, in seconds since 1970, for models that read it "
        "(`reads_time` of GET /models); it is not read with a query",
    )
    last_event_time: Annotated[float | None, NotBool] = Field(
        None,
        examples=[1767139200],
        description="when the last event of the history was, in seconds since 1970; given with "
        "`time`",
    )


class SearchRequest(Choice):
    """A query."""

    query: Query


class RecommendRequest(Choice, Timed):
    """A history, or a user whose history is stored with the model."""

    history: History = []
    user_id: str | None = Field(None, min_length=1, max_length=512)

    @pydantic.model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.history) == (self.user_id is not None):
            raise ValueError("give either a history with at least one item_id, or a user_id")
        return self


class QueryOrHistory(Timed):
    """A query, a history, or both."""

    query: Query | None = None
    history: History = []

    @pydantic.model_validator(mode="after")
    def _any_of_them(self) -> Self:
        if self.query is None and not self.history:
            raise ValueError("give a query, a history, or both")
        return self


class RetrieveRequest(Choice, QueryOrHistory):
    """A query, a history, or both."""


class BatchRequest(_Body):
    """Several requests at once; their answers have the same order."""

    requests: list[RetrieveRequest] = Field(
        min_length=1,
        max_length=MAX_REQUESTS,
        description=f"their k add up to {MAX_BATCH_ITEMS} at most",
        examples=[[{"query": "slow space opera", "k": 5}, {"history": ["1", "260"]}]],
    )

    @pydantic.model_validator(mode="after")
    def _not_too_many(self) -> Self:
        items = sum(request.k for request in self.requests)
        if items > MAX_BATCH_ITEMS:
            raise ValueError(
                f"the requests ask for {items} items together, and a batch may ask for "
                f"{MAX_BATCH_ITEMS}; lower k, or send several batches"
            )
        return self


class ScoreRequest(QueryOrHistory):
    """A request and the items to score for it: re-ranking with the same model."""

    candidates: list[ItemId] = Field(min_length=1, max_length=MAX_ITEMS)
    model: ModelName | None = None


class ExplainRequest(QueryOrHistory):
    """A request and an item of its answer."""

    item_id: ItemId
    model: ModelName | None = None


class Item(_Body):
    """An item of the catalog."""

    item_id: str
    title: str
    attributes: dict[str, Any]


class AnswerItem(Item):
    """An item of an answer."""

    rank: int
    score: float = Field(
        description="log-probability of the item's identifier; with semantic IDs and hybrid "
        "retrieval plus the item's match, so that it may exceed 0"
    )


class Models(_Body):
    """The served models; the first is the default."""

    models: list[ServedModel]


class Items(_Body):
    """Items of the catalog."""

    items: list[Item]


class State(_Body):
    """Liveness or readiness of the server."""

    state: str


class Answer(ModelVersion):
    """The items for a request, best first."""

    items: list[AnswerItem]
    no_known_words: bool = Field(
        False,
        description="whether the model knows no word of the query; the ranking then uses "
        "subwords, such as n-grams that a misspelled word shares with others, and the history or "
        "popularity",
    )


class BatchAnswer(_Body):
    """One answer for each request."""

    answers: list[Answer]


class Contribution(_Body):
    """A part of a request, and how much lower the item's score is without it."""

    kind: Literal["history", "query"] = Field(
        description="`history` for an item of the history, `query` for a word of the query"
    )
    value: str = Field(description="the item_id or the word")
    title: str = Field(description="the title of the item, or the word")
    score: float = Field(
        description="the item's score with the whole request minus that without this part"
    )


class Explanation(ModelVersion):
    """Why an item was returned, the largest contribution first."""

    item_id: str
    score: float
    contributions: list[Contribution]


class NewItem(_Body):
    """An item to add: its id, title, text, and attributes that the catalog has."""

    model_config = pydantic.ConfigDict(extra="allow")

    item_id: ItemId
    title: str = Field("", max_length=2000)
    __pydantic_extra__: dict[str, str]


class AddItems(_Body):
    """Items to make retrievable at once."""

    items: list[NewItem] = Field(
        min_length=1,
        max_length=MAX_ITEMS,
        examples=[
            [
                {
                    "item_id": "new-1",
                    "title": "The Last Outlaw",
                    "text": "A dark western film: revenge.",
                    "genre": "western",
                }
            ]
        ],
    )


class RemoveItems(_Body):
    """Items to remove from all answers."""

    item_ids: list[ItemId] = Field(min_length=1, max_length=MAX_ITEMS, examples=[["new-1", "260"]])


class ChangedCatalog(_Body):
    """The catalog after a change that is on disk and in effect."""

    catalog_version: str
    changed: int = Field(description="how many items were added or removed")
    items: int = Field(description="how many items can be retrieved now")


class ReloadRequest(_Body):
    """A model folder to serve from now on; without one, the present folders are read again."""

    folder: str | None = Field(None, min_length=1, max_length=4096, examples=["/models/tuesday"])
    model: ModelName | None = Field(
        None,
        description="name of the model to reload; by default the first one where a folder is "
        "given, and all without",
    )


class Problem(_Body):
    """What went wrong, and the remedy."""

    detail: Any
