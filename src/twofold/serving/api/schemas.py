"""What the API reads and writes."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

MOST_ITEMS = 1000
"""Items of one answer, of one history and of one list of candidates, at most."""
MOST_REQUESTS = 100
"""Requests of one batch, at most."""
MOST_BATCH_ITEMS = 5000
"""Items that the requests of one batch may ask for together: while so many are written down, the
event loop waits for 7 to 15 ms, on one core that it shares with the engines; a full garbage
collection, which other requests bring about as well, takes 30."""

ItemId = Annotated[str, Field(min_length=1, max_length=512)]
ArmName = Annotated[str, Field(max_length=512)]
Query = Annotated[
    str, Field(min_length=1, max_length=2000, pattern=r"\S", examples=["slow space opera"])
]
History = Annotated[
    list[ItemId],
    Field(max_length=MOST_ITEMS, description="item ids, oldest first", examples=[["1", "260"]]),
]
Value = Annotated[str, Field(max_length=512)]
Filters = Annotated[
    dict[Value, Value | Annotated[list[Value], Field(min_length=1, max_length=MOST_ITEMS)]],
    Field(
        max_length=20,
        description="attribute -> a value, or several of which one must hold; an attribute of "
        "the catalog whose values are joined by | holds each of them",
        examples=[{"genres": ["Comedy", "Drama"]}],
    ),
]


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class Choice(_Body):
    """Which items may come back, and how many."""

    k: int = Field(10, ge=1, le=MOST_ITEMS, description="how many items")
    exclude: list[ItemId] = Field(
        [], max_length=MOST_ITEMS, description="items that may not come back"
    )
    filters: Filters = {}
    seen: Literal["exclude", "keep"] | None = Field(
        None,
        description="whether items of the history may come back; by default as the model's "
        "dataset has it for a history alone, and `keep` where there is a query",
    )
    arm: ArmName | None = Field(
        None, description="one of the served models by its name; the first by default"
    )


class SearchRequest(Choice):
    """A query."""

    query: Query


class RecommendRequest(Choice):
    """A history, or a user whose history the model carries."""

    history: History = []
    user_id: str | None = Field(None, min_length=1, max_length=512)

    @pydantic.model_validator(mode="after")
    def _one_of_them(self) -> "RecommendRequest":
        if bool(self.history) == (self.user_id is not None):
            raise ValueError("give either a history with at least one item_id, or a user_id")
        return self


class RetrieveRequest(Choice):
    """A query, a history, or both."""

    query: Query | None = None
    history: History = []

    @pydantic.model_validator(mode="after")
    def _any_of_them(self) -> "RetrieveRequest":
        if self.query is None and not self.history:
            raise ValueError("give a query, a history, or both")
        return self


class BatchRequest(_Body):
    """Several requests at once; answers come in their order."""

    requests: list[RetrieveRequest] = Field(
        min_length=1,
        max_length=MOST_REQUESTS,
        description=f"their k add up to {MOST_BATCH_ITEMS} at most",
        examples=[[{"query": "slow space opera", "k": 5}, {"history": ["1", "260"]}]],
    )

    @pydantic.model_validator(mode="after")
    def _not_too_many(self) -> "BatchRequest":
        items = sum(request.k for request in self.requests)
        if items > MOST_BATCH_ITEMS:
            raise ValueError(
                f"the requests ask for {items} items together, and a batch may ask for "
                f"{MOST_BATCH_ITEMS}; lower k, or send several batches"
            )
        return self


class ScoreRequest(_Body):
    """A request and the items to score for it: re-ranking with the same weights."""

    query: Query | None = None
    history: History = []
    candidates: list[ItemId] = Field(min_length=1, max_length=MOST_ITEMS)
    arm: ArmName | None = None

    @pydantic.model_validator(mode="after")
    def _any_of_them(self) -> "ScoreRequest":
        if self.query is None and not self.history:
            raise ValueError("give a query, a history, or both")
        return self


class ExplainRequest(_Body):
    """A request and an item that it found."""

    query: Query | None = None
    history: History = []
    item_id: ItemId
    arm: ArmName | None = None

    @pydantic.model_validator(mode="after")
    def _any_of_them(self) -> "ExplainRequest":
        if self.query is None and not self.history:
            raise ValueError("give a query, a history, or both")
        return self


class Item(_Body):
    """An item of the catalog."""

    item_id: str
    title: str
    attributes: dict[str, Any]


class RankedItem(Item):
    """An item of an answer.

    Attributes:
        score: log p(identifier).
    """

    rank: int
    score: float


class Served(_Body):
    """What an answer rests on."""

    arm: str
    model_version: str
    catalog_version: str


class Arm(Served):
    """A served model."""

    items: int = Field(description="that can be retrieved now")
    carries_histories: bool = Field(description="whether a user_id may be asked for")
    tasks: list[str] = Field(
        description="what it learned: search, recommendation or both; what it did not is refused"
    )


class Arms(_Body):
    """The served models; the first answers where no arm is asked for."""

    arms: list[Arm]


class Items(_Body):
    """Items of the catalog."""

    items: list[Item]


class State(_Body):
    """Of the process."""

    state: str


class Answer(Served):
    """The items of a request, best first."""

    items: list[RankedItem]


class BatchAnswer(_Body):
    """One answer a request."""

    answers: list[Answer]


class Contribution(_Body):
    """A part of a request, and what the item's score loses without it.

    Attributes:
        kind: `history` for an item, `query` for a word.
        value: the item_id or the word.
        title: of the item; the word itself.
        score: log p with the whole request minus log p without this part.
    """

    kind: Literal["history", "query"]
    value: str
    title: str
    score: float


class Explanation(Served):
    """Why an item came back, the largest part first."""

    item_id: str
    score: float
    contributions: list[Contribution]


class NewItem(_Body):
    """An item to add: its id, title, text, and any attributes of the catalog."""

    model_config = pydantic.ConfigDict(extra="allow")

    item_id: ItemId
    title: str = Field("", max_length=2000)
    __pydantic_extra__: dict[str, str]


class AddItems(_Body):
    """Items that become retrievable at once."""

    items: list[NewItem] = Field(
        min_length=1,
        max_length=MOST_ITEMS,
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
    """Items that never come back from now on."""

    item_ids: list[ItemId] = Field(min_length=1, max_length=MOST_ITEMS, examples=[["new-1", "260"]])


class CatalogChange(_Body):
    """A change that is on disk and in effect."""

    catalog_version: str
    changed: int
    items: int = Field(description="that can be retrieved now")


class ReloadRequest(_Body):
    """A model folder to serve from now on; without one, the present folders of the models again.

    Attributes:
        arm: whose model it becomes; without one the first arm's with a folder, all without.
    """

    folder: str | None = Field(None, min_length=1, max_length=4096, examples=["/models/tuesday"])
    arm: ArmName | None = None


class Problem(_Body):
    """What went wrong, and what to do."""

    detail: Any
