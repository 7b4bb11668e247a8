"""The interface of a served model and its present catalog; it does not depend on HTTP.

An engine is used from one thread at a time (see `batching`), except for `place`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pydantic

from twofold.records import Request


@dataclass(frozen=True, slots=True)
class TopK:
    """A request and the number of items to retrieve for it.

    Attributes:
        request: the request.
        k: the number of items.
        described: the number of best items for which title and attributes are read, which costs
            more than retrieval; None for all.
    """

    request: Request
    k: int
    described: int | None = None


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item with its fields; `score` as in `twofold.retrieval.scoring`."""

    item_id: str
    title: str
    attributes: Mapping[str, Any]
    score: float


class Contribution(NamedTuple):
    """What a part of a request contributes to an item's score.

    Attributes:
        kind: `history` or `query`.
        value: the item_id in the history, or the word of the query.
        score: the contribution.
    """

    kind: str
    value: str
    score: float


class ModelVersion(pydantic.BaseModel):
    """The versions of the model and the catalog of an answer.

    Attributes:
        model: the name under which the model is served.
        model_version: SHA-256 of the model's manifest, its first 12 digits.
        catalog_version: changes whenever an item is added or removed.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    model: str
    model_version: str
    catalog_version: str


class ServedModel(ModelVersion):
    """A served model."""

    items: int = pydantic.Field(description="how many items can be retrieved now")
    carries_histories: bool = pydantic.Field(description="whether requests may name a user_id")
    reads_time: bool = pydantic.Field(
        False, description="whether requests for recommendations may give their time"
    )
    tasks: tuple[str, ...] = pydantic.Field(
        description="the tasks it was trained for: search, recommendation or both; it refuses "
        "requests of another task"
    )

    @property
    def version(self) -> ModelVersion:
        """The part that is in every answer."""
        return ModelVersion(
            model=self.model,
            model_version=self.model_version,
            catalog_version=self.catalog_version,
        )


class Engine(Protocol):
    """One version of a model with its catalog."""

    @property
    def served(self) -> ServedModel:
        """The present name, versions and tasks."""
        ...

    def check(self, request: Request) -> None:
        """Raise InputError if a request has unknown items or attributes, a task that the model was
        not trained for, a query without a word and no history, or a time that the model does not
        read. The check is cheap.
        """
        ...

    def has_known_word(self, request: Request) -> bool:
        """Whether the model knows a word of the request's query; true without a query."""
        ...

    def history_of(self, user_id: str) -> tuple[str, ...]:
        """The item ids of a user's history, oldest first; InputError for an unknown user."""
        ...

    def excludes_seen(self, request: Request) -> bool:
        """Whether the items of this request's history are excluded by default."""
        ...

    def answer(self, requests: Sequence[TopK]) -> list[list[ScoredItem]]:
        """The items of each request, best first, in one batch."""
        ...

    def score(self, request: Request, candidates: Sequence[str]) -> list[ScoredItem]:
        """The candidates, best first; InputError for an unknown or a removed one."""
        ...

    def explain(self, request: Request, item_id: str) -> tuple[float, list[Contribution]]:
        """The item's score, and what each part of the request contributes to it."""
        ...

    def item(self, item_id: str) -> ScoredItem | None:
        """An item that can be retrieved (score 0), or None."""
        ...

    def find_titles(self, text: str, k: int) -> list[ScoredItem]:
        """Items whose title contains the text, popular ones first, for choosing a history."""
        ...

    def place(self, items: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
        """This model's placement of the items that are new to it, by model version, for `add`.

        The first call takes seconds for a large catalog. Call it outside the engines' thread, one
        call at a time, and add no item meanwhile.

        Raises:
            InputError: the model cannot place an item.
        """
        ...

    def add(
        self, items: Sequence[Mapping[str, str]], placed: Mapping[str, str] | None = None
    ) -> int:
        """Add new items and restore removed ones; returns their number when they are on disk.

        Args:
            items: fields of the items table.
            placed: results of `place` for every served model; computed for this one if None.
        """
        ...

    def remove(self, item_ids: Sequence[str]) -> int:
        """Remove items from all answers; returns the number of removed items when the change is on
        disk.
        """
        ...

    def catch_up(self) -> None:
        """Apply the changes of the log that this engine has not applied yet."""
        ...
