"""The validated dataset that other packages use: a catalog, interactions, queries and qrels.

Invariant: in a `Dataset` every referenced id exists, every text is non-empty, and every timestamp
is in seconds since 1970 or a position; every row that could not be used is counted in `notes`.
`validation` makes one from a user's tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

INTERACTIONS = pl.Schema({"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Float64})
QUERIES = pl.Schema(
    {
        "query_id": pl.String,
        "text": pl.String,
        "split": pl.String,
        "kind": pl.String,
        "user_id": pl.String,
        "timestamp": pl.Float64,
    }
)
QRELS = pl.Schema({"query_id": pl.String, "item_id": pl.String, "relevance": pl.Int64})
SPLIT_NAMES = {"dev": "validation", "val": "validation", "valid": "validation"}
"""Names of the split `validation` in BEIR, Hugging Face datasets and others."""
LEFT_OUT = pl.Schema({"file": pl.String, "line": pl.UInt32, "reason": pl.String})
"""A row that was left out; without a line if the table was derived from the file."""
LEFT_OUT_FILE = "left_out.jsonl"
"""The file of a prepared folder that lists these rows."""
READ_AS_JSON = "read as JSON"
"""The effect of a note on a column of objects."""


@dataclass(frozen=True, slots=True)
class Note:
    """Rows that were left out, or another difference between the file and the data as read.

    Attributes:
        count: the number of rows or other units.
        place: the place of the first one.
        problem: what is wrong with it.
        remedy: what to do.
        unit: what is counted, by default rows.
        effect: how they were treated.
    """

    count: int
    place: str
    problem: str
    remedy: str
    unit: str = "row"
    effect: str = "left out"

    def __str__(self) -> str:
        plural = f"{self.unit.removesuffix('y')}ies" if self.unit.endswith("y") else f"{self.unit}s"
        counted = f"{self.count} {self.unit if self.count == 1 else plural} {self.effect}"
        return f"{self.place}: {self.problem} ({counted}); {self.remedy}"

    @property
    def rows_left_out(self) -> int:
        """The number of rows of the file that are missing from the table for this reason."""
        return self.count if self.unit == "row" and self.effect == "left out" else 0


MOST_CHARACTERS = 20_000
"""The number of characters of a text column that are read, about 3,500 words. A text encoder splits
every text into words several times, so books in a catalog would take hours."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All retrievable items, in file order; the catalog position of an item is its row."""

    items: pl.DataFrame
    positions: Mapping[str, int]

    @classmethod
    def of(cls, items: pl.DataFrame) -> "Catalog":
        return cls(items, {item_id: n for n, item_id in enumerate(items["item_id"])})

    def __len__(self) -> int:
        return self.items.height

    @property
    def item_ids(self) -> list[str]:
        return self.items["item_id"].to_list()

    @property
    def texts(self) -> list[str]:
        """Every text column of each item (title, text, attributes) in one string; of each column
        the first `MOST_CHARACTERS`."""
        names = [name for name in self.items.columns if name != "item_id"]
        columns = [pl.col(name).cast(pl.String).str.slice(0, MOST_CHARACTERS) for name in names]
        joined = pl.concat_str(columns, separator=" ", ignore_nulls=True)
        text = self.items.select(joined.str.replace_all("|", " ", literal=True).str.strip_chars())
        return text.to_series().fill_null("").to_list()

    def title(self, item_id: str) -> str:
        """The text to show for an item: its title, or its id if it has no visible one."""
        title: str = self.items["title"][self.positions[item_id]] or ""
        is_visible = any(char.isprintable() and not char.isspace() for char in title)
        return title if is_visible else item_id


@dataclass(frozen=True, slots=True)
class Dataset:
    """A user's data, validated; `twofold.tasks` splits them.

    Attributes:
        catalog: the items.
        interactions: columns of `INTERACTIONS`, in file order; a missing timestamp is null. No two
            rows have the same user, item and time.
        queries: columns of `QUERIES`.
        qrels: columns of `QRELS`, relevance above 0.
        notes: rows that were left out, and other differences from the files.
        left_out: columns of `LEFT_OUT`, the rows with an unknown id.
    """

    catalog: Catalog
    interactions: pl.DataFrame
    queries: pl.DataFrame
    qrels: pl.DataFrame
    notes: tuple[Note, ...] = ()
    left_out: pl.DataFrame = field(default_factory=LEFT_OUT.to_frame)
