"""MIND, a Microsoft news dataset: `news.tsv` and `behaviors.tsv`, without headers.

A user's events are the clicks before the first impression, which have no time, and then the
clicked news of each impression, in the order of time; so no event has a timestamp.
"""

from pathlib import Path

import polars as pl

from twofold.data.checks import first_true
from twofold.data.dataset import Note
from twofold.data.formats import Table, read_lines
from twofold.data.layouts.layout import Layout, Tables
from twofold.records import InputError

_TIME = "%m/%d/%Y %I:%M:%S %p"


def tables(folder: Path) -> Tables:
    """The news and the clicks of a folder.

    Raises:
        InputError: a line has another number of fields, or an invalid time.
    """
    news = read_lines(
        folder / "news.tsv", "\t", ["item_id", "category", "subcategory", "title", "text"], more=3
    )
    path = folder / "behaviors.tsv"
    behaviors = read_lines(path, "\t", ["id", "user_id", "time", "history", "impressions"])
    clicks = _clicks(behaviors)
    known = clicks["item_id"].is_in(news.rows["item_id"].implode())
    notes = _unmarked(behaviors)
    if not known.all():
        problem = f"news '{clicks.filter(~known)['item_id'][0]}' is not in news.tsv"
        notes.append(Note(int((~known).sum()), str(path), problem, "nothing to do", "click"))
    events = Table(path, clicks.filter(known), derived=True, notes=tuple(notes))
    return {"items": [news], "interactions": [events]}


def _clicks(behaviors: Table) -> pl.DataFrame:
    """The clicks of each user, oldest first: columns user_id and item_id."""
    time = behaviors.rows["time"].str.to_datetime(_TIME, strict=False)
    if (row := first_true(time.is_null())) is not None:
        raise InputError(
            f"{behaviors.place(row)}: time '{behaviors.rows['time'][row]}' is not in the form "
            f"11/15/2019 9:05:58 AM; unpack the archive again"
        )
    rows = behaviors.rows.with_columns(time=time).sort("time", maintain_order=True)
    before = (
        rows.unique("user_id", keep="first", maintain_order=True)
        .select("user_id", item_id=pl.col("history").str.split(" "))
        .explode("item_id")
    )
    shown = rows.select("user_id", item_id=pl.col("impressions").str.split(" ")).explode("item_id")
    clicked = shown.filter(pl.col("item_id").str.ends_with("-1")).with_columns(
        pl.col("item_id").str.strip_suffix("-1")
    )
    both = pl.concat([before, clicked]).filter(pl.col("item_id").fill_null("") != "")
    return both.sort("user_id", maintain_order=True)


def _unmarked(behaviors: Table) -> list[Note]:
    """A note on impressions without click labels, as in MIND's test part."""
    shown = behaviors.rows["impressions"].fill_null("")
    unmarked = shown.str.contains(r"(?:^| )\S+(?: |$)") & ~shown.str.contains(r"-[01](?: |$)")
    if (row := first_true(unmarked)) is None:
        return []
    problem = "the impressions have no click labels (-1 after the news)"
    remedy = "nothing to do, or give another part: the histories before them are read"
    return [Note(int(unmarked.sum()), behaviors.place(row), problem, remedy, effect="not read")]


LAYOUT = Layout(
    name="MIND",
    needs=("news.tsv", "behaviors.tsv"),
    gives="news and clicks in order, without times: recommendation",
    tables=tables,
)
