"""Large tables are prepared piece by piece, and give what the whole gives."""

import gzip
import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twofold.records import SPLITS, TASKS, InputError, Task
from twofold.tasks import arrays, prepared, training_data
from twofold.tasks.storage import load_dataset, save_dataset
from twofold.tasks.streaming import dataset, events, files, pieces, queries
from twofold.tasks.streaming.dataset import StreamedTables

Change = Callable[[pl.DataFrame], pl.DataFrame]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    _make_pieces_small(monkeypatch, 23)


def _make_pieces_small(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(dataset, "LARGE", 0)
    monkeypatch.setattr(dataset, "LARGE_QUERIES", 0)
    monkeypatch.setattr(events, "_USER_BITS", 2)
    monkeypatch.setattr(queries, "_QUERY_BITS", 3)
    monkeypatch.setattr(training_data, "_QUERIES", rows)
    monkeypatch.setattr(arrays, "_EVENTS", 3 * rows)
    monkeypatch.setattr(prepared, "_ROWS", rows)
    monkeypatch.setattr(files, "PIECE", rows)
    monkeypatch.setattr(pieces, "_BLOCK", 30 * rows)
    monkeypatch.setattr(files, "_PER_LINE", 0.0)


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


FORMATS = (".parquet", ".csv", ".csv.gz", ".tsv", ".jsonl", ".jsonl.gz")


def _in_format(source: Path, suffix: str) -> Path:
    """Write the tables of a folder in another format."""
    for path in source.glob("*.parquet") if suffix != ".parquet" else ():
        table = pl.read_parquet(path)
        separator = "\t" if suffix == ".tsv" else ","
        text = table.write_ndjson() if "json" in suffix else table.write_csv(separator=separator)
        data = gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode()
        path.with_suffix(suffix).write_bytes(data)
        path.unlink()
    return source


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
OTHER_TIMES = ("ISO times", "milliseconds")
"""Those of the queries are seconds, which is worth a note with their count."""
NOT_PLAIN: dict[str, Change] = {
    "a user that says none": lambda e: e.with_columns(pl.col("user_id").replace("u3", "nan")),
    "two ways to write a user": lambda e: e.with_columns(pl.col("user_id").replace("u3", "u4 ")),
    "a far time": lambda e: e.with_columns(pl.when(pl.int_range(pl.len()) == 99).then(4_000_000_000)
                                           .otherwise("timestamp").alias("timestamp")),
    "no times": lambda e: e.drop("timestamp"),
}  # fmt: skip


def _same(source: Path, tmp_path: Path, cutoff: int | str | None = None) -> bool:
    """Compare what streaming and reading whole give; return whether the tables are streamed."""
    split: Any = "last" if cutoff is None else "temporal"
    streamed = load_dataset(source, split, cutoff)
    save_dataset(streamed, tmp_path / "streamed")
    if isinstance(streamed.tables, StreamedTables):  # it caches a table that is read whole
        assert not {"interactions", "queries", "qrels"} & vars(streamed.tables).keys()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "LARGE", 10**9)
        whole = load_dataset(source, split, cutoff)
    assert not isinstance(whole.tables, StreamedTables)
    save_dataset(whole, tmp_path / "whole")

    assert streamed.digest == whole.digest
    assert streamed.protocol == whole.protocol
    assert sorted(map(str, streamed.notes)) == sorted(map(str, whole.notes))
    for name in ("interactions", "queries", "qrels"):
        made, expected = (
            pl.read_parquet(tmp_path / folder / f"{name}.parquet")
            for folder in ("streamed", "whole")
        )
        assert made.equals(expected)
        assert made.equals(getattr(streamed, name))
    for path in sorted((tmp_path / "whole" / "columns").iterdir()):
        assert path.read_bytes() == (tmp_path / "streamed" / "columns" / path.name).read_bytes()
    reports = [
        json.loads((tmp_path / made / "data_report.json").read_text())
        for made in ("streamed", "whole")
    ]
    for report in reports:
        report["left_out"].sort()
    assert reports[0] == reports[1]
    return isinstance(streamed.tables, StreamedTables)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("queries", ["many queries", "few queries"])
@pytest.mark.parametrize("name", [*PLAIN, *NOT_PLAIN])
@pytest.mark.parametrize("suffix", FORMATS[:2])
def test_it_gives_the_same_dataset(
    suffix: str, name: str, queries: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _in_format(_write(tmp_path / "source", (PLAIN | NOT_PLAIN)[name]), suffix)
    few = queries == "few queries"
    monkeypatch.setattr(dataset, "LARGE_QUERIES", 10**9 if few else 0)
    assert _same(source, tmp_path) == (name in PLAIN and (few or name not in OTHER_TIMES))


PLAIN_QUERIES: dict[str, Change] = {
    "no times": lambda q: q.drop("timestamp"),
    "no users": lambda q: q.drop("user_id"),
    "some without a user": lambda q: q.with_columns(
        user_id=pl.when(pl.int_range(pl.len()) % 3 > 0).then("user_id")
    ),
    "all before their user's first event": lambda q: q.with_columns(timestamp=1_500_000_000),
    "equal texts": lambda q: q.with_columns(text=pl.col("text").str.slice(0, 5)),
    "in any language": lambda q: q.with_columns(text=pl.col("text") + " Ärger 日本 🍎"),
    "splits of their own": lambda q: q.with_columns(
        split=pl.Series(["train", "dev", "test", "train"] * 10), kind=pl.lit("tag")
    ),
    "one more column": lambda q: q.with_columns(person=pl.lit(3)),
    "some not judged": lambda q: pl.concat(
        [q[:3], *(q[n : n + 1].with_columns(query_id=pl.lit(f"new {n}")) for n in (3, 7)), q[3:]]
    ),
    "a third not judged": lambda q: pl.concat(
        [q.with_columns(query_id=pl.lit("new ") + pl.col("query_id"))[:20], q]
    ),
}
NOT_PLAIN_QUERIES: dict[str, Change] = {
    "no text": lambda q: q.with_columns(pl.col("text").replace("word3 some 3", " ")),
    "a split for some": lambda q: q.with_columns(
        split=pl.when(pl.int_range(pl.len()) == 39).then(pl.lit("test"))
    ),
    "one text in two splits": lambda q: q.with_columns(
        text=pl.lit("one"), split=pl.Series(["train", "test"] * 20)
    ),
    "a time is missing": lambda q: q.with_columns(
        pl.when(pl.int_range(pl.len()) > 0).then("timestamp")
    ),
    "ISO times": _iso,
}


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", [*PLAIN_QUERIES, *NOT_PLAIN_QUERIES])
@pytest.mark.parametrize("suffix", FORMATS[:2])
def test_queries_give_the_same_dataset(suffix: str, name: str, tmp_path: Path) -> None:
    source = _write(tmp_path / "source")
    queries = pl.read_parquet(source / "queries.parquet")
    changed = (PLAIN_QUERIES | NOT_PLAIN_QUERIES)[name](queries)
    changed.write_parquet(source / "queries.parquet")
    assert _same(_in_format(source, suffix), tmp_path) == (name in PLAIN_QUERIES)


JUDGMENTS: dict[str, Change] = {
    "grades, in another order": lambda j: j.with_columns(
        relevance=1 + pl.int_range(pl.len()) % 3
    ).sample(fraction=1, shuffle=True, seed=3),
    "several answers": lambda j: pl.concat(
        [j, j.with_columns(pl.col("item_id").shift(1, fill_value="i9"))]
    ),
    "a column that is not read": lambda j: j.with_columns(note="item_id"),
    "an item that is not relevant": lambda j: j.with_columns(
        relevance=pl.int_range(pl.len()).clip(0, 1)
    ),
    "judged twice": lambda j: pl.concat([j, j[7:8]]),
}


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", JUDGMENTS)
@pytest.mark.parametrize("suffix", FORMATS[:2])
def test_judgments_give_the_same_dataset(suffix: str, name: str, tmp_path: Path) -> None:
    source = _write(tmp_path / "source")
    qrels = pl.read_parquet(source / "qrels.parquet")
    JUDGMENTS[name](qrels).write_parquet(source / "qrels.parquet")
    plain = name not in ("an item that is not relevant", "judged twice")
    assert _same(_in_format(source, suffix), tmp_path) == plain


USERS, ITEMS = st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["i1", "i2", "i3"])
TIMES = st.integers(1_600_000_000, 1_600_000_006)


@settings(max_examples=40)
@given(
    log=st.lists(st.tuples(USERS, ITEMS, TIMES), min_size=1, max_size=30),
    asked=st.lists(
        st.tuples(
            st.sampled_from(["red car", "Red cars", "blue", "x"]),
            st.none() | USERS | st.just("nobody"),
            TIMES,
            st.sampled_from(["train", "validation", "test"]),
            st.lists(ITEMS, max_size=2, unique=True),
        ),
        min_size=1,
        max_size=12,
    ),
    piece=st.integers(1, 7),
    suffix=st.sampled_from(FORMATS),
    without=st.sets(st.sampled_from(["split", "timestamp"])),
    few=st.booleans(),
    cutoff=st.none() | TIMES,
)
def test_any_log_gives_the_same_dataset(
    log: Any, asked: Any, piece: int, suffix: str, without: Any, few: bool, cutoff: int | None
) -> None:
    judged = [(f"q{n}", item) for n, query in enumerate(asked) for item in query[4]]
    assume(judged)
    if cutoff is not None:
        times = [time for _, _, time in log]
        assume(min(times) < cutoff <= max(times))
    frames: dict[str, tuple[Any, Any]] = {
        "items": ([["i1", "blue"], ["i2", "car"], ["i3", ""]], ["item_id", "title"]),
        "interactions": (log, ["user_id", "item_id", "timestamp"]),
        "queries": (
            [(f"q{n}", *query[:4]) for n, query in enumerate(asked)],
            {"query_id": str, "text": str, "user_id": str, "timestamp": int, "split": str},
        ),
        "qrels": (judged, ["query_id", "item_id"]),
    }
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        _make_pieces_small(patch, piece)
        patch.setattr(dataset, "LARGE_QUERIES", 10**9 if few else 0)
        source = Path(folder) / "source"
        source.mkdir()
        for name, (rows, schema) in frames.items():
            frame = pl.DataFrame(rows, schema=schema, orient="row")
            frame.drop(without & {*frame.columns} if name == "queries" else ()).write_parquet(
                source / f"{name}.parquet"
            )
        _same(_in_format(source, suffix), Path(folder), cutoff)


CUTOFF = 1_600_000_030
BY_TIME: dict[str, tuple[str, Change, bool]] = {
    "no changes": ("queries", PLAIN["as it is"], True),
    "few queries": ("queries", PLAIN["as it is"], True),
    "a user without an event before the cutoff": (
        "interactions", PLAIN["the only event of a user, the latest of all, twice"], True),
    "queries without times": ("queries", PLAIN_QUERIES["no times"], True),
    "equal texts": ("queries", PLAIN_QUERIES["equal texts"], True),
    "some not judged": ("queries", PLAIN_QUERIES["some not judged"], True),
    "no query before the cutoff": (
        "queries", lambda queries: queries.with_columns(timestamp=CUTOFF), True),
    "splits of their own": ("queries", lambda queries: queries.with_columns(
        split=pl.when(pl.col("timestamp") < CUTOFF).then(pl.lit("train")).otherwise(pl.lit("test"))
    ), True),
    "training queries after the cutoff": (
        "queries", lambda queries: queries.with_columns(split=pl.lit("train")), False),
    "a far time": ("interactions", NOT_PLAIN["a far time"], False),
}  # fmt: skip


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", BY_TIME)
def test_a_cutoff_gives_the_same_dataset(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / "source")
    table, change, streamed = BY_TIME[name]
    path = source / f"{table}.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    monkeypatch.setattr(dataset, "LARGE_QUERIES", 10**9 if name == "few queries" else 0)
    assert _same(source, tmp_path, CUTOFF) == streamed
    splits = pl.read_parquet(tmp_path / "streamed" / "interactions.parquet")["split"]
    assert set(splits) == {*SPLITS, None}


@pytest.mark.usefixtures("small_pieces")
def test_a_training_reads_what_was_streamed(tmp_path: Path) -> None:
    source = _write(tmp_path / "source")
    save_dataset(load_dataset(source), tmp_path / "out")
    loaded, made = load_dataset(tmp_path / "out"), load_dataset(source)
    for task in made.tasks:
        assert list(map(str, loaded.task(task).examples)) == list(
            map(str, made.task(task).examples)
        )
        for split in SPLITS:
            asked, again = (each.task(task).requests(split) for each in (made, loaded))
            assert list(asked.requests) == list(again.requests)
            assert dict(asked.qrels) == dict(again.qrels)


@pytest.mark.usefixtures("small_pieces")
def test_folders_with_characters_of_patterns_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary [1] *"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    made = load_dataset(_write(tmp_path / "source [ab]?"))
    assert isinstance(made.tables, StreamedTables)
    save_dataset(made, tmp_path / "out [1]")
    loaded = load_dataset(tmp_path / "out [1]")
    assert loaded.digest == made.digest
    assert list(loaded.task("search").requests("test").requests)


@pytest.mark.parametrize("task", TASKS)
def test_a_dataset_and_its_requests_can_be_sent_to_another_process(
    task: Task, tmp_path: Path
) -> None:
    made = load_dataset(_write(tmp_path / "source"))
    judged = made.task(task).requests("test")
    sent, again = pickle.loads(pickle.dumps((judged, made)))
    assert list(sent.requests) == list(judged.requests)
    assert dict(sent.qrels) == dict(judged.qrels)
    assert list(again.task(task).requests("test").requests) == list(judged.requests)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("queries", lambda q: q.with_columns(pl.col("query_id").replace("q39", "q3"))),
        ("queries", lambda q: q.with_columns(split=pl.lit("sometimes"))),
        ("queries", lambda q: q.with_columns(user_id=pl.col("user_id") + ".0")),
        ("queries", lambda q: q.drop("text")),
        ("queries", lambda q: q.with_columns(timestamp=pl.int_range(pl.len()))),
        ("qrels", lambda j: j.with_columns(pl.col("query_id").replace("q7", "unknown"))),
        ("qrels", lambda j: j.with_columns(pl.col("item_id").replace("i7", "unknown"))),
        ("qrels", lambda j: j.with_columns(relevance=pl.lit("high"))),
        ("qrels", lambda j: pl.concat(
            [j.with_columns(relevance=1), j[9:10].with_columns(relevance=2)], how="vertical")),
    ],
    ids=["an id twice", "no split", "users as fractions", "no column", "positions",
         "unknown query", "unknown item", "no grade", "two grades"],
)  # fmt: skip
def test_what_is_wrong_with_queries_is_said_as_of_the_whole(
    table: str, change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / "source", _numbered_users)
    rows = pl.read_parquet(source / f"{table}.parquet")
    if table == "queries":
        rows = _numbered_users(rows)
    change(rows).write_parquet(source / f"{table}.parquet")
    _assert_refused_alike(source, monkeypatch)


def _assert_refused_alike(
    source: Path, monkeypatch: pytest.MonkeyPatch, cutoff: int | str | None = None
) -> None:
    """Streaming and reading whole refuse a folder with the same words."""
    split: Any = "last" if cutoff is None else "temporal"
    with pytest.raises(InputError) as streamed:
        load_dataset(source, split, cutoff)
    monkeypatch.setattr(dataset, "LARGE", 10**9)
    with pytest.raises(InputError) as whole:
        load_dataset(source, split, cutoff)
    assert str(streamed.value) == str(whole.value)


def _numbered_users(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("user_id").str.slice(1))


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
    _assert_refused_alike(source, monkeypatch)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "change",
    [
        lambda items: pl.concat([items, items[:1]]),
        lambda items: items.with_columns(pl.col("item_id").replace("i3", None)),
    ],
    ids=["an id twice", "no id"],
)
def test_what_is_wrong_with_items_is_said_as_of_the_whole(
    change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / "source")
    change(pl.read_parquet(source / "items.parquet")).write_parquet(source / "items.parquet")
    _assert_refused_alike(source, monkeypatch)


@pytest.mark.usefixtures("small_pieces")
def test_it_says_how_far_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    load_dataset(_write(tmp_path / "source"))
    assert any("interactions: 3 of 18 pieces, " in line for line in caplog.messages)
    for what in ("events by user: ", "queries: ", "judgments: ", "relevant items by query: "):
        assert any(line.startswith(what) for line in caplog.messages)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("cutoff", ["2020-09-13", "2020-09-14", "soon", ""])
def test_a_wrong_cutoff_is_refused_without_reading_again(
    cutoff: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    source = _write(tmp_path / "source")
    _assert_refused_alike(source, monkeypatch, cutoff)
    assert "read whole" not in caplog.text


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("begins", [[0, 0, 0], [0, 3, 5]])
def test_positions_of_all_users_are_checked_before_a_cutoff(
    begins: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_SHOWN", 1)
    source = _write(tmp_path / "source")
    pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in range(3) for _ in range(9)],
            "item_id": [f"i{number}" for _ in range(3) for number in range(9)],
            "timestamp": [begin + number for begin in begins for number in range(9)],
        }
    ).write_parquet(source / "interactions.parquet")
    queries = pl.read_parquet(source / "queries.parquet")
    queries.with_columns(timestamp=pl.int_range(pl.len())).write_parquet(source / "queries.parquet")
    if begins == [0, 0, 0]:
        _assert_refused_alike(source, monkeypatch, cutoff=4)
    else:
        assert _same(source, tmp_path, cutoff=4)


@pytest.mark.usefixtures("small_pieces")
def test_other_sources_are_read_whole(tmp_path: Path) -> None:
    source = _write(tmp_path / "source")
    pl.read_parquet(source / "interactions.parquet").write_json(source / "interactions.json")
    (source / "interactions.parquet").unlink()
    assert not isinstance(load_dataset(source).tables, StreamedTables)


@pytest.mark.usefixtures("small_pieces")
def test_a_small_table_in_another_encoding_is_read_whole_alone(tmp_path: Path) -> None:
    source = _write(tmp_path / "source")
    text = pl.read_parquet(source / "queries.parquet").write_csv()
    (source / "queries.csv").write_text(text, encoding="utf-16")
    (source / "queries.parquet").unlink()
    assert _same(source, tmp_path)


@pytest.mark.usefixtures("small_pieces")
def test_a_table_that_is_not_readable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _in_format(_write(tmp_path / "source"), ".csv")
    denied = source / "interactions.csv"
    denied.unlink()
    denied.symlink_to(denied)  # as root every file could be read
    _assert_refused_alike(source, monkeypatch)


@pytest.mark.usefixtures("small_pieces")
def test_compressed_data_that_are_corrupt_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _in_format(_write(tmp_path / "source"), ".csv.gz")
    path = source / "interactions.csv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    _assert_refused_alike(source, monkeypatch)


@pytest.mark.usefixtures("small_pieces")
def test_the_log_says_why_tables_are_read_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    load_dataset(_write(tmp_path / "source", NOT_PLAIN["a far time"]))
    assert "the tables are read whole (interactions: a timestamp needs a note" in caplog.text
