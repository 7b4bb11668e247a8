"""A large table of interactions is prepared piece by piece, and gives what the whole gives."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twofold.records import InputError
from twofold.tasks import streaming
from twofold.tasks.storage import load_dataset, save_dataset
from twofold.tasks.streaming import StreamedTables

Change = Callable[[pl.DataFrame], pl.DataFrame]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LARGE", 0), ("_PIECE", 70), ("_USERS", 4), ("_PER_LINE", 0.0)):
        monkeypatch.setattr(streaming, name, value)


def _write(folder: Path, change: Change = lambda events: events) -> Path:
    """A folder of tables in Parquet: 30 users, some events written twice, some at one time."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    items = [f"i{n}" for n in range(20)]
    pl.DataFrame({"item_id": items, "title": [f"word{n} shared" for n in range(20)]}).write_parquet(
        folder / "items.parquet"
    )
    events = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(30, size=400)],
            "item_id": [items[n] for n in rng.integers(20, size=400)],
            "timestamp": 1_600_000_000 + rng.integers(60, size=400),
        }
    )
    change(pl.concat([events, events[50:60]])).write_parquet(folder / "interactions.parquet")
    pl.DataFrame(
        {
            "query_id": [f"q{n}" for n in range(40)],
            "text": [f"word{n % 20} some {n}" for n in range(40)],
            "user_id": [f"u{n % 33}" for n in range(40)],
            "timestamp": 1_600_000_000 + rng.integers(60, size=40),
        }
    ).write_parquet(folder / "queries.parquet")
    pl.DataFrame(
        {"query_id": [f"q{n}" for n in range(40)], "item_id": [f"i{n % 20}" for n in range(40)]}
    ).write_parquet(folder / "qrels.parquet")
    return folder


def _iso(events: pl.DataFrame) -> pl.DataFrame:
    times = pl.from_epoch("timestamp", "s").dt.to_string("%Y-%m-%dT%H:%M:%S")
    return events.with_columns(timestamp=times)


_LATEST = pl.DataFrame({"user_id": ["u99"], "item_id": ["i3"], "timestamp": [1_600_000_099]})

PLAIN: dict[str, Change] = {
    "as it is": lambda events: events,
    "copies of nothing": lambda events: events.unique(maintain_order=True),
    "ISO times": _iso,
    "milliseconds": lambda events: events.with_columns(pl.col("timestamp") * 1000),
    "the only event of a user, the latest of all, twice": lambda events: pl.concat(
        [events, _LATEST, _LATEST]
    )[[410, *range(410), 411]],
    "one more column": lambda events: events.with_columns(rating=pl.lit(3)),
    "numbers as ids": lambda events: events.with_columns(pl.col("user_id").str.slice(1).cast(int)),
}
NOT_PLAIN: dict[str, Change] = {
    "a user that says none": lambda e: e.with_columns(pl.col("user_id").replace("u3", "nan")),
    "two ways to write a user": lambda e: e.with_columns(pl.col("user_id").replace("u3", "u4 ")),
    "a far time": lambda e: e.with_columns(pl.when(pl.int_range(pl.len()) == 99).then(4_000_000_000)
                                           .otherwise("timestamp").alias("timestamp")),
    "no times": lambda e: e.drop("timestamp"),
}  # fmt: skip


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", [*PLAIN, *NOT_PLAIN])
def test_it_gives_the_same_dataset(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / "source", (PLAIN | NOT_PLAIN)[name])
    streamed = load_dataset(source)
    assert isinstance(streamed.tables, StreamedTables) == (name in PLAIN)
    save_dataset(streamed, tmp_path / "streamed")
    monkeypatch.setattr(streaming, "LARGE", 10**9)
    whole = load_dataset(source)
    save_dataset(whole, tmp_path / "whole")

    assert streamed.digest == whole.digest
    assert streamed.protocol == whole.protocol
    assert sorted(map(str, streamed.notes)) == sorted(map(str, whole.notes))
    for file in ("interactions.parquet", "queries.parquet", "qrels.parquet"):
        assert pl.read_parquet(tmp_path / "streamed" / file).equals(
            pl.read_parquet(tmp_path / "whole" / file)
        )
    for path in sorted((tmp_path / "whole" / "columns").iterdir()):
        assert path.read_bytes() == (tmp_path / "streamed" / "columns" / path.name).read_bytes()
    reports = [
        json.loads((tmp_path / made / "data_report.json").read_text())
        for made in ("streamed", "whole")
    ]
    for report in reports:
        report["left_out"].sort()
    assert reports[0] == reports[1]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.with_columns(pl.col("item_id").replace("i7", "unknown")),
        lambda e: e.with_columns(user_id=pl.when(pl.int_range(pl.len()) == 200).then(None)
                                 .otherwise("user_id")),
        lambda e: e.with_columns(pl.col("timestamp").cast(str).replace("1600000003", "soon")),
        lambda e: e.rename({"user_id": "person"}),
        lambda e: e.with_columns(pl.col("timestamp") - 1_599_999_999),
    ],
    ids=["unknown item", "no user", "no time", "no column", "positions, and times of queries"],
)  # fmt: skip
def test_what_is_wrong_is_said_as_of_the_whole(
    change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / "source", change)
    with pytest.raises(InputError) as streamed:
        load_dataset(source)
    monkeypatch.setattr(streaming, "LARGE", 10**9)
    with pytest.raises(InputError) as whole:
        load_dataset(source)
    assert str(streamed.value) == str(whole.value)


@pytest.mark.usefixtures("small_pieces")
def test_an_item_that_stands_twice_is_treated_as_in_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / "source")
    items = pl.read_parquet(source / "items.parquet")
    pl.concat([items, items[:1]]).write_parquet(source / "items.parquet")
    with pytest.raises(InputError) as streamed:
        load_dataset(source)
    monkeypatch.setattr(streaming, "LARGE", 10**9)
    with pytest.raises(InputError) as whole:
        load_dataset(source)
    assert str(streamed.value) == str(whole.value)


@pytest.mark.usefixtures("small_pieces")
def test_it_says_how_far_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    load_dataset(_write(tmp_path / "source"))
    assert any("interactions: 3 of 6 pieces, " in line for line in caplog.messages)
    assert any(line.startswith("events by user: ") for line in caplog.messages)


@pytest.mark.usefixtures("small_pieces")
def test_other_sources_and_splits_are_read_whole(tmp_path: Path) -> None:
    source = _write(tmp_path / "source")
    cut = load_dataset(source, "temporal", 1_600_000_030)
    assert not isinstance(cut.tables, StreamedTables)
    pl.read_parquet(source / "interactions.parquet").write_csv(source / "interactions.csv")
    (source / "interactions.parquet").unlink()
    assert not isinstance(load_dataset(source).tables, StreamedTables)
