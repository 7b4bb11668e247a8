"""What is served: a model, the living catalog around it, and its answers. No HTTP here.

An engine is used from one thread at a time (see `batching`), but for `place`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twofold.records import Request


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and how many items to look for.

    Attributes:
        shown: how many of them, the best, are described in the answer: it costs more than to find
            them. All where None.
    """

    request: Request
    k: int
    shown: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """An item of an answer; `score` is log p(identifier)."""

    item_id: str
    title: str
    attributes: Mapping[str, Any]
    score: float


class Engine(Protocol):
    """One version of a model with its catalog.

    Attributes:
        arm: the model's name.
        model_version: SHA-256 of the model's manifest, its first 12 digits.
        catalog_version: changes with every item added or removed.
        carries_histories: whether `user_id` may be asked for.
        tasks: what the model learned, `search`, `recommendation` or both; it answers no other.
    """

    arm: str
    model_version: str

    @property
    def carries_histories(self) -> bool: ...

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def catalog_version(self) -> str: ...

    @property
    def items(self) -> int:
        """How many can be retrieved now."""
        ...

    def check(self, request: Request) -> None:
        """Raise InputError where a request names what there is not, or is of a task that the model
        never learned: cheap, before it queues."""
        ...

    def history_of(self, user_id: str) -> tuple[str, ...]:
        """Item ids, oldest first; InputError for an unknown user."""
        ...

    def excludes_seen(self, request: Request) -> bool:
        """Whether by default the items of this request's history may not come back."""
        ...

    def answer(self, asked: Sequence[Asked]) -> list[list[Found]]:
        """The items of each request, best first, in one pass through the model."""
        ...

    def score(self, request: Request, candidates: Sequence[str]) -> list[Found]:
        """The candidates, best first; InputError for an unknown or a removed one."""
        ...

    def explain(self, request: Request, item_id: str) -> tuple[float, list[tuple[str, str, float]]]:
        """The item's score, and (`history` or `query`, item_id or word, what it adds)."""
        ...

    def item(self, item_id: str) -> Found | None:
        """An item that can be retrieved (score 0), or None."""
        ...

    def find_titles(self, text: str, most: int) -> list[Found]:
        """Items whose title holds the text, popular ones first: to pick a history from."""
        ...

    def place(self, rows: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
        """Model version -> where this model places those of the rows that are new to it, for
        `add`; InputError where it cannot. Seconds the first time for a large catalog: from a
        thread beside the engines', one at a time, while nothing is added."""
        ...

    def add(
        self, rows: Sequence[Mapping[str, str]], placed: Mapping[str, str] | None = None
    ) -> int:
        """Take new items in, and removed ones back; how many. On disk before it returns.

        Args:
            rows: of the items table.
            placed: of `place`, of every model that is served; of this one where None.
        """
        ...

    def remove(self, item_ids: Sequence[str]) -> int:
        """Let items never come back; how many were there. On disk before it returns."""
        ...

    def catch_up(self) -> None:
        """Take in the changes that came into the state folder since this engine was loaded."""
        ...
