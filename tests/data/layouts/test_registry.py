"""A folder of no layout is told the nearest one, and what is missing."""

from pathlib import Path

import pytest

from tests.contracts.test_layouts import write
from twofold.data.layouts.registry import LAYOUTS
from twofold.data.sources import known_sources, read_source
from twofold.records import InputError


def test_the_nearest_layout_and_what_is_missing(tmp_path: Path) -> None:
    files = {"corpus.jsonl": '{"_id": "d1"}\n', "queries.jsonl": '{"_id": "q1", "text": "x"}\n'}
    with pytest.raises(InputError, match=r"nearest to the layout BEIR, with .*no qrels/\*\.tsv"):
        read_source(write(tmp_path / "a", files))
    with pytest.raises(InputError, match=r"nearest to .* MovieLens 100k, .*u\.data but no u\.item"):
        read_source(write(tmp_path / "b", {"u.data": "1\t1\t3\t9\n"}))


def test_tables_of_ours_alone_are_told_what_they_miss(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has queries but no table qrels"):
        read_source(write(tmp_path, {"queries.csv": "query_id,text\nq1,x\n"}))


def test_a_folder_like_no_layout_is_compared_with_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a dataset; it needs items and interactions"):
        read_source(write(tmp_path, {"log.csv": "a,b\n1,2\n", "notes.jsonl": "{}"}))


def test_a_dataset_one_folder_deeper_is_named(tmp_path: Path) -> None:
    write(tmp_path / "ml-100k", {"u.data": "1\t1\t3\t9\n", "u.item": "1|Up\n"})
    with pytest.raises(InputError, match=r"its folder ml-100k has the layout MovieLens 100k: give"):
        read_source(tmp_path)


def test_what_is_read_is_listed() -> None:
    known = known_sources()
    assert {"four tables", "BEIR", "RecBole"} <= {entry["name"] for entry in known["layouts"]}
    assert "ml-1m" in {entry["name"] for entry in known["names"]}
    assert "simulate:catalog" in {entry["name"] for entry in known["simulators"]}


def test_every_archive_of_a_layout_is_known_by_name() -> None:
    archives = [archive for layout in LAYOUTS for archive in layout.archives]
    assert {"ml-latest-small", "ml-1m"} <= {archive.name for archive in archives}
    assert [each["name"] for each in known_sources()["names"]] == [each.name for each in archives]


def test_a_layout_without_rows_is_refused_with_the_reason(tmp_path: Path) -> None:
    news = "N1\tsports\tgolf\tTitle\tText\thttps://x\t[]\t[]\n"
    shown = "1\tU1\t11/15/2019 10:05:58 AM\t\tN1-0 N9-1\n"
    with pytest.raises(InputError, match=r"layout MIND, but no rows in interactions \(.*'N9'"):
        read_source(write(tmp_path, {"news.tsv": news, "behaviors.tsv": shown}))


def test_a_table_in_a_format_that_is_not_read(tmp_path: Path) -> None:
    logs = {"ubi_queries.txt": "x", "ubi_events.ndjson": "{}"}
    with pytest.raises(InputError, match="ubi_queries is in no supported format"):
        read_source(write(tmp_path / "a", logs))
    judged = "query-id\tcorpus-id\tscore\nq1\td2\t2\n"
    with pytest.raises(InputError, match=r"queries\.txt: is in no supported format"):
        read_source(write(tmp_path / "b", {"queries.txt": "x", "qrels/test.tsv": judged}))


def test_a_folder_without_a_table_is_told_what_it_holds(tmp_path: Path) -> None:
    files = dict.fromkeys(("events.csv", "item", ".hidden", "a", "b", "c", "d"), "x")
    folder = write(tmp_path, files)
    with pytest.raises(InputError, match=r"; it holds a, b, c, d, events\.csv, \.\.\.; twofold"):
        read_source(folder)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="; it is empty; twofold sources"):
        read_source(tmp_path / "none")


SEARCH = {
    "items.csv": "item_id,title\na,Alpha\nb,Beta\n",
    "queries.csv": "query_id,text\nq,one\n",
    "qrels.csv": "query_id,item_id\nq,a\n",
}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("interactions.xlsx", "is in no supported format; write it as interactions.csv"),
        ("Interactions.csv.zst", "is in no supported format"),
        ("interactions.csv.zip", "format; unpack it, and name the table interactions.csv"),
        ("interactions.tar.gz", "format; unpack it, and name the table interactions.csv"),
        ("interactions_train.csv", "is not read; name it interactions.csv"),
        ("test-interactions.tsv", "is not read; name it interactions.tsv"),
        ("interactions.txt", "is in no supported format"),
        ("interaction.csv", "is not read; name it interactions.csv"),
        ("interactions_1.csv", "is not read; name it interactions.csv"),
        ("interactions-part-00001.parquet", "is not read; name it interactions.parquet"),
        ("interactions.parquet/part-0.parquet", "is a folder; write its parts as one file"),
        ("interactions/part-0.parquet", "is a folder; .* as one file interactions.parquet"),
        ("interactions/year=2024/part-0.csv.gz", "is a folder; .* as one file interactions.csv"),
    ],
)
def test_what_is_called_almost_as_a_missing_table_is_refused(
    tmp_path: Path, name: str, message: str
) -> None:
    folder = write(tmp_path, {**SEARCH, name: "x"})
    with pytest.raises(InputError, match=f"{name.partition('/')[0]}: .*{message}.*rename it"):
        read_source(folder)
    (folder / "interactions.csv").write_text("user_id,item_id\nu,a\n")
    assert read_source(folder).interactions.height == 1


def test_a_table_in_parts_is_refused(tmp_path: Path) -> None:
    parts = dict.fromkeys(("interactions_1.csv", "interactions_2.csv"), "user_id,item_id\nu,a\n")
    with pytest.raises(
        InputError, match=r"_1\.csv: is not read; join all parts as interactions\.csv"
    ):
        read_source(write(tmp_path, {**SEARCH, **parts}))


def test_a_table_in_splits_is_refused(tmp_path: Path) -> None:
    splits = [f"{name}_{part}.csv" for name in ("queries", "qrels") for part in ("train", "test")]
    folder = write(tmp_path, {"items.csv": SEARCH["items.csv"], **dict.fromkeys(splits, "x")})
    remedy = r"_test\.csv: is not read; join all parts as queries\.csv, .* a column split; if it"
    with pytest.raises(InputError, match=remedy):
        read_source(folder)


def test_a_folder_beside_the_file_of_its_table_is_not_read_with_a_note(tmp_path: Path) -> None:
    folder = write(tmp_path, {**SEARCH, "qrels/test.tsv": "x", "items/cover.png": "x"})
    (note,) = read_source(folder).notes
    assert str(note).startswith(f"{folder}/qrels: qrels.csv holds the table qrels (1 folder not")


def test_a_table_that_is_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, SEARCH)
    (folder / "interactions.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"interactions\.csv: is a broken link"):
        read_source(folder)


def test_files_that_have_the_name_of_no_table_are_counted(tmp_path: Path) -> None:
    more = {"events.csv": "x", "clicks.json.gz": "x", "README.md": "x", ".items.csv": "x"}
    folder = write(tmp_path, {**SEARCH, **more})
    (note,) = read_source(folder).notes
    assert str(note) == (
        f"{folder}: clicks.json.gz, events.csv do not have the name of a table (2 files not read); "
        f"nothing to do, or rename a table to one of items, interactions, queries, qrels"
    )
