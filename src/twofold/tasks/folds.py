"""Folds: each fold holds out another part of a dataset, so its training data differ too.

Fold 0 is the dataset's own split. Every other fold tests

- other queries: a tenth of them, by a hash of the text. The validation queries are those of fold 0
  in every fold.
- other events: each user's history ends some events earlier, if it is long enough. Events after the
  test event are not used at all.

Invariant: no test request of any fold is a validation request of fold 0, by which recipes are
chosen; and the invariant of `twofold.tasks.training_data` holds for every fold.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import polars as pl

from twofold.records import InputError, Task
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import TENTHS, VALIDATION_TENTH, hash_split, hash_tenth

FoldChoice = Literal["auto", "all", "none"]
"""`auto`: folds of data without a given split; `all`: also of queries with a given split; `none`:
the split is fixed."""
FOLD_CHOICES: tuple[FoldChoice, ...] = ("auto", "all", "none")

MOST_CUT = 0.25
"""The largest share of a user's training events that a fold does not use."""
FEWEST_QUERIES = 2
"""The smallest number of test queries of a fold; with fewer, queries have no folds."""
FEWEST_EVENTS = 3
"""A user with fewer events has no test event."""

Counts = TypeVar("Counts", pl.Expr, pl.Series)

_PARTS = TENTHS - 1
"""The number of folds in which every query outside validation is a test query once."""
_TEST_TENTHS = [tenth for tenth in range(TENTHS) if tenth != VALIDATION_TENTH]
_FIXED = "a fixed split was asked for"


@dataclass(frozen=True, slots=True)
class FoldRequests:
    """The test requests of one task in one fold, (R,) each.

    Attributes:
        request_ids: the ids in the order of the task.
        cluster_ids: the user of each request, or the request's own id without a user.
    """

    request_ids: Sequence[str]
    cluster_ids: Sequence[str]


class Folds:
    """The folds of a dataset.

    Args:
        dataset: the dataset with its own split.
        which: the data that have folds.

    Attributes:
        why_fixed: by task, why its test requests are the same in every fold; None if they differ.

    Raises:
        InputError: an unknown `which`.
    """

    def __init__(self, dataset: PreparedDataset, which: FoldChoice = "auto") -> None:
        if which not in FOLD_CHOICES:
            raise InputError(f"folds '{which}': choose one of {', '.join(FOLD_CHOICES)}")
        self._dataset = dataset
        self._last = 0, dataset
        self._test_requests: dict[tuple[int, Task], FoldRequests] = {}
        self._dealt = -1, pl.Series(dtype=pl.Int64)
        self._named = not _split_by_hash(dataset)
        reasons: dict[Task, str | None] = {
            "search": _FIXED if which == "none" else self._why_queries(which),
            "recommendation": _FIXED if which == "none" else self._why_events(),
        }
        self.why_fixed: Mapping[Task, str | None] = reasons

    @property
    def any(self) -> bool:
        """Whether any two folds differ."""
        return None in self.why_fixed.values()

    @property
    def folded_users(self) -> float:
        """The share of the tested users whose test event differs between folds.

        The histories of the other users are too short, so their events are the same in every fold.
        """
        if self.why_fixed["recommendation"] is not None:
            return 0.0
        events = self._dataset.interactions.group_by("user_id").len()["len"]
        tested = events.filter(events >= FEWEST_EVENTS)
        return float((_turns(tested) > 1).mean())  # type: ignore[arg-type]  # some are tested

    def of(self, number: int) -> PreparedDataset:
        """One fold; the last fold is cached.

        Args:
            number: the number of the fold, from 0: a study's seed.
        """
        if number == 0 or not self.any:
            return self._dataset
        if self._last[0] != number:
            self._last = number, self._made(number)
        return self._last[1]

    def test_requests(self, number: int, task: Task) -> FoldRequests:
        """The test requests of a fold, without histories; they are cached for all folds."""
        if (number, task) not in self._test_requests:
            requests = self.of(number).task(task).requests("test").requests
            self._test_requests[number, task] = FoldRequests(
                request_ids=[request.request_id for request in requests],
                cluster_ids=[request.user_id or request.request_id for request in requests],
            )
        return self._test_requests[number, task]

    def _made(self, number: int) -> PreparedDataset:
        events, queries = self._dataset.interactions, self._dataset.queries
        if self.why_fixed["recommendation"] is None:
            events = events.with_columns(split=_earlier(number))
        if self.why_fixed["search"] is None:
            queries = self._queries(number)
        return self._dataset.with_tables(interactions=events, queries=queries)

    def _queries(self, number: int) -> pl.DataFrame:
        """The queries with the splits of a fold; validation queries are unchanged."""
        turn, part = divmod(number, _PARTS)
        validation = (pl.col("split") == "validation").fill_null(value=False)
        tested = pl.lit(self._parts(turn)) == part
        return self._dataset.queries.with_columns(
            split=pl.when(validation)
            .then(pl.lit("validation"))
            # Texts of validation queries are left out of training, as they were.
            .when(validation.any().over("key"))
            .then("split")
            .when(tested)
            .then(pl.lit("test"))
            .otherwise(pl.lit("train"))
        )

    def _why_queries(self, which: FoldChoice) -> str | None:
        if not self._dataset.queries.height:
            return "there are no queries"
        if self._dataset.protocol.split != "last":
            return "the data are split by time"
        if self._named and which == "auto":
            return "the queries name their splits"
        counts = [
            self._queries(number).filter(pl.col("split") == "test").height
            for number in range(1, _PARTS)
        ]
        if min(counts) < FEWEST_QUERIES:
            return "there are too few queries for folds"
        return None

    def _parts(self, turn: int) -> pl.Series:
        """The fold of a turn that tests each query; the last turn is cached."""
        if self._dealt[0] != turn:
            drawn = turn + 1 if self._named else turn
            keys = self._dataset.queries["key"]
            parts = keys.map_elements(lambda key: _part(key, drawn), return_dtype=pl.Int64)
            self._dealt = turn, parts
        return self._dealt[1]

    def _why_events(self) -> str | None:
        if self._dataset.protocol.split != "last":
            return "the data are split by time"
        if (
            self._dataset.interactions.with_columns(made=_earlier(1))
            .filter(pl.col("made").is_null())
            .is_empty()
        ):
            return "no history is long enough to end earlier"
        return None


def _split_by_hash(dataset: PreparedDataset) -> bool:
    """Whether every query has the split of its text's hash."""
    hashed = dataset.queries["key"].map_elements(hash_split, return_dtype=pl.String)
    return bool(dataset.queries["split"].eq_missing(hashed).all())


def _part(key: str, turn: int) -> int:
    """Which of the nine folds of a turn tests a query; every turn divides the queries anew."""
    if turn == 0:
        return _TEST_TENTHS.index(hash_tenth(key)) if hash_tenth(key) in _TEST_TENTHS else -1
    digest = hashlib.sha256(f"{turn} {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _PARTS


def _turns(events: Counts) -> Counts:
    """The number of folds after which a user's events repeat, by the user's number of events."""
    return ((events.cast(pl.Int64) - 2) * MOST_CUT).floor().cast(pl.Int64)


def _earlier(number: int) -> pl.Expr:
    """The split of the interactions of fold `number`, in which histories end earlier.

    They end 0, 2, 3, ... events earlier, in turn, as far as `MOST_CUT` allows. One event is not
    possible, since the validation event of fold 0 would become a test event.
    """
    events = pl.len().over("user_id")
    turn = number % pl.max_horizontal(_turns(events), pl.lit(1))
    cut = pl.when(turn == 0).then(0).otherwise(turn + 1)
    left = events.cast(pl.Int64) - pl.int_range(pl.len()).over("user_id") - cut
    return (
        pl.when(events < FEWEST_EVENTS)
        .then(pl.lit("train"))
        .when(left == 1)
        .then(pl.lit("test"))
        .when(left == 2)
        .then(pl.lit("validation"))
        .when(left > 2)
        .then(pl.lit("train"))
        .otherwise(None)
    )
