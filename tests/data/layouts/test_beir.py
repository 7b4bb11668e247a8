"""BEIR's folder of judgments next to our own tables."""

from pathlib import Path

import pytest

from tests.conftest import WriteFolder
from tests.contracts.test_layouts import json_lines, write
from twofold.data.sources import read_source
from twofold.records import InputError


def test_beir_qrels_give_the_split_of_their_queries(write_folder: WriteFolder) -> None:
    folder = write_folder(qrels=None, queries="query_id,text\nq1,one\nq2,two\nq3,three\n")
    (folder / "qrels").mkdir()
    for name, query in (("train", "q1"), ("dev", "q2"), ("test", "q3")):
        text = f"query-id\tcorpus-id\tscore\n{query}\ta\t1\n"
        (folder / "qrels" / f"{name}.tsv").write_text(text)
    dataset = read_source(folder)
    assert dataset.queries["split"].to_list() == ["train", "validation", "test"]
    assert dataset.qrels.height == 3


def test_a_query_that_two_files_judge_is_counted(write_folder: WriteFolder) -> None:
    folder = write_folder(qrels=None, queries="query_id,text\nq1,one\nq2,two\n")
    (folder / "qrels").mkdir()
    for name, rows in (("train", "q1\ta\t1\nq2\tb\t1\nq2\tc\t1\n"), ("test", "q1\tb\t1\n")):
        text = f"query-id\tcorpus-id\tscore\n{rows}"
        (folder / "qrels" / f"{name}.tsv").write_text(text)
    dataset = read_source(folder)
    assert dataset.queries["split"].to_list() == ["test", "train"]
    assert dataset.qrels.height == 4
    assert [str(note).replace(f"{folder}/", "") for note in dataset.notes] == [
        "queries.csv: query 'q1' has judgments in test.tsv and train.tsv: all of them are used "
        "(1 query put into test); keep the judgments of a query in one file"
    ]


def test_broken_beir_qrels_are_named(write_folder: WriteFolder) -> None:
    folder = write_folder(qrels=None, queries="query_id,text\nq1,one\n")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("q1\t0\ta\t1\nq1\t0\tb\t1\n")
    with pytest.raises(InputError, match=r"test.tsv: no column 'query_id' among q1, 0, a, 1"):
        read_source(folder)


def test_a_split_of_the_queries_own_wins_over_the_name_of_the_file(
    write_folder: WriteFolder,
) -> None:
    folder = write_folder(qrels=None, queries="_id,text,split\nq1,one,test\n")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    assert read_source(folder).queries["split"].to_list() == ["test"]


def test_a_folder_as_beir_publishes_it(tmp_path: Path) -> None:
    files = {
        "corpus.jsonl": json_lines(
            {"_id": "d1", "title": "", "text": "oak", "metadata": {"url": "x"}},
            {"_id": "d2", "title": "Lamp", "text": "tall", "metadata": {}},
        ),
        "queries.jsonl": json_lines(
            {"_id": "q1", "text": "one", "metadata": {}}, {"_id": "q2", "text": "two"}
        ),
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td2\t2\n",
    }
    dataset = read_source(write(tmp_path, files))
    assert dataset.catalog.items.columns == ["item_id", "title", "text"]
    assert dataset.catalog.title("d1") == "d1"
    assert dataset.queries["split"].to_list() == ["test", None]
    assert dataset.qrels.rows() == [("q1", "d2", 2)]
    problems = [note.problem for note in dataset.notes]
    assert problems == [
        "column 'metadata' has values in 1 rows",
        "query 'q2' has no relevant item in qrels",
    ]


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    files = {
        "queries.jsonl": json_lines({"_id": "q1", "text": "one"}),
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td2\t2\n",
    }
    with pytest.raises(InputError, match=r"no corpus.jsonl, which a BEIR folder has"):
        read_source(write(tmp_path, files))


CORPUS = {
    "corpus.jsonl": json_lines({"_id": "d1", "title": "Oak"}, {"_id": "d2", "title": "Lamp"}),
    "queries.jsonl": json_lines({"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}),
}
JUDGED = "query-id\tcorpus-id\tscore\nq1\td2\t2\n"


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        ({"qrels.tsv": JUDGED}, [None, None]),
        ({"qrels.csv": JUDGED.replace("\t", ",")}, [None, None]),
        ({"test.tsv": JUDGED}, ["test", None]),
        ({"test.tsv": JUDGED, "train.tsv": JUDGED.replace("q1", "q2")}, ["test", "train"]),
    ],
)
def test_judgments_beside_the_corpus_are_read(
    tmp_path: Path, files: dict[str, str], splits: list[str | None]
) -> None:
    dataset = read_source(write(tmp_path, CORPUS | files))
    assert dataset.catalog.item_ids == ["d1", "d2"]
    assert ("q1", "d2", 2) in dataset.qrels.rows()
    assert dataset.queries["split"].to_list() == splits


def test_judgments_in_two_places_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, CORPUS | {"qrels.tsv": JUDGED, "qrels/test.tsv": JUDGED})
    with pytest.raises(InputError, match=r"qrels/test.tsv and qrels.tsv both hold judgments; keep"):
        read_source(folder)


def test_judgments_of_trec_are_refused_with_their_remedy(tmp_path: Path) -> None:
    folder = write(tmp_path, CORPUS | {"qrels.txt": "q1 0 d2 1\n"})
    with pytest.raises(InputError, match=r"qrels.txt: is in no supported format; write it as qrel"):
        read_source(folder)
