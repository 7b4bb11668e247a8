"""The datasets of the published figures, from small files in the layouts of their originals."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import build_data
import pytest

Build = Callable[..., dict[str, list[dict[str, str]]]]


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def write_jsonl(path: Path, *records: dict[str, str]) -> None:
    write(path, *(json.dumps(record) for record in records))


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    def run(dataset: str, *arguments: str) -> dict[str, list[dict[str, str]]]:
        out = tmp_path / "out"
        monkeypatch.setattr(sys, "argv", ["build_data.py", dataset, "--out", str(out), *arguments])
        build_data.main()
        return {path.stem: build_data.read_csv(path) for path in out.glob("*.csv")}

    return run


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "ml-latest-small"
    write(
        folder / "movies.csv",
        "movieId,title,genres",
        "1,Toy Story (1995),Animation|Comedy",
        '2,"American President, The (1995)",Romance',
        "3,Babylon 5,(no genres listed)",
    )
    write(
        folder / "ratings.csv",
        "userId,movieId,rating,timestamp",
        "1,2,4.0,964982703",
        "1,1,4.0,964981247",
    )
    write(
        folder / "links.csv",
        "movieId,imdbId,tmdbId",
        "1,0114709,862",
        "2,0112346,9087",
        "3,0105946,",
    )
    return folder


@pytest.fixture
def tags(tmp_path: Path) -> Path:
    lines = [
        "1::1::Toys::1",
        "2::1::toys::2",
        "2::9::toys::2",  # a film outside of the catalog
        "1::9::abroad::3",
        "2::9::abroad::3",
        '1::2::"the end"::4',
        '2::2::"The end"::4',
        "1::1::lonely::5",
        "1::2::own::6",
        "2::2::own::6",
        "1::2::Björk::7",
        "2::2::Björk::7",
    ]
    write(tmp_path / "ml-10M100K" / "tags.dat", *lines, encoding="latin-1")
    return tmp_path / "ml-10M100K"


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    folder = tmp_path / "Movies"
    asked = {
        "train": [
            ("a1", "[TOMT][Movie] A cowboy  doll", "He is jealous. EDIT: thanks!", "tt0114709"),
            ("a2", "Is it Toy Story?", "No idea", "tt0114709"),
            ("a3", "one two three four", "five", "tt0112346"),
            ("a4", "not in the catalog", "", "tt0000001"),
        ],
        "validation": [],
        "test": [("b1", "one two three", "four six", "tt0112346")],
    }
    for split, rows in asked.items():
        records = [{"id": i, "title": t, "description": d} for i, t, d, _ in rows]
        write_jsonl(folder / "splits" / split / "queries.json", *records)
        write(folder / "splits" / split / "qrels.txt", *(f"{i}\t0\t{a}\t1" for i, _, _, a in rows))
    for path in folder.glob("splits/validation/*"):
        path.write_text("")
    return folder


def test_small_films_keep_items_and_interactions_as_published(
    build: Build, small: Path, tags: Path, movies: Path
) -> None:
    tables = build(
        *("ml-small-joint", "--movielens", str(small)),
        *("--tags", str(tags), "--questions", str(movies)),
    )
    assert [tuple(row.values()) for row in tables["items"]] == [
        ("1", "Toy Story (1995)", "1995", "Animation|Comedy"),
        ("2", "American President, The (1995)", "1995", "Romance"),
        ("3", "Babylon 5", "", "(no genres listed)"),
    ]
    assert [tuple(row.values()) for row in tables["interactions"]] == [
        ("1", "2", "964982703"),
        ("1", "1", "964981247"),
    ]


def test_tags_of_two_people_become_queries_and_keep_one_number_in_every_catalog(
    tags: Path,
) -> None:
    queries, qrels = build_data.tag_queries(tags, {"1", "2"})
    # "the end" sorts first for its quotation mark; "abroad" keeps its number though it has no film.
    assert [(row["query_id"], row["text"]) for row in queries] == [
        ("t0", "the end"),
        ("t2", "björk"),
        ("t3", "toys"),
    ]
    assert [(row["query_id"], row["item_id"]) for row in qrels] == [
        ("t0", "2"),
        ("t2", "2"),
        ("t3", "1"),
    ]


@pytest.mark.parametrize(
    ("tag", "split"),
    [("007", "validation"), ("1790s", "test"), ("sexy", "train"), ("18th century", "train")],
)
def test_the_split_of_a_tag_is_that_of_the_measured_data(tag: str, split: str) -> None:
    assert build_data.tag_split(tag) == split
    assert build_data.tag_split(tag.upper() + "!") == split


def test_questions_that_name_their_answer_or_repeat_a_test_question_are_left_out(
    small: Path, movies: Path
) -> None:
    links = build_data.read_csv(small / "links.csv")
    items = {item["item_id"]: item for item in build_data.small_films(small)["items"]}
    asked = build_data.questions(movies, links, items)
    assert [(row["query_id"], row["split"], answer["item_id"]) for row, answer in asked] == [
        ("qa1", "train", "1"),
        ("qb1", "test", "2"),
    ]
    assert asked[0][0]["text"] == "A cowboy doll He is jealous."


@pytest.fixture
def large(tmp_path: Path) -> Path:
    folder = tmp_path / "ml-1m"
    ratings = [
        f"{user}::{movie}::5::{10 - movie if user == 1 else 7}"
        for user in range(1, 6)
        for movie in range(1, 6)
    ]
    write(folder / "ratings.dat", *ratings, "6::1::5::1", "1::6::5::1")
    write(folder / "movies.dat", *(f"{n}::Film {n} (1999)::Drama" for n in range(1, 7)))
    return folder


def test_large_films_are_five_core_in_the_order_of_time_then_of_the_file(large: Path) -> None:
    tables = build_data.large_films(large)
    assert [item["item_id"] for item in tables["items"]] == ["1", "2", "3", "4", "5"]
    orders = {
        user: [row["item_id"] for row in tables["interactions"] if row["user_id"] == user]
        for user in ("1", "2", "6")
    }
    assert orders == {"1": ["5", "4", "3", "2", "1"], "2": ["1", "2", "3", "4", "5"], "6": []}
    assert [row["timestamp"] for row in tables["interactions"][:5]] == [0, 1, 2, 3, 4]


def test_people_and_plots_come_from_tmdb(small: Path, tmp_path: Path) -> None:
    cast = [{"name": f"Actor {n}"} for n in range(7)]
    crew = [{"name": "John Lasseter", "job": "Director"}, {"name": "Ed", "job": "Producer"}]
    raw = {
        "tmdb_movies.json.gz": [{"id": 862, "overview": "Andy's toys."}],
        "tmdb_cast.json.gz": [{"id": 862, "cast": cast, "crew": crew}],
    }
    for name, content in raw.items():
        (tmp_path / name).write_bytes(gzip.compress(json.dumps(content).encode()))
    items = build_data.small_films(small)["items"]
    build_data.add_texts(items, tmp_path, build_data.read_csv(small / "links.csv"))
    assert items[0]["director"] == "John Lasseter"
    assert items[0]["cast"] == "Actor 0,Actor 1,Actor 2,Actor 3,Actor 4"
    assert items[0]["text"] == "Andy's toys."
    assert (items[2]["cast"], items[2]["text"]) == ("", "")


def test_large_films_have_the_queries_of_their_catalog(
    build: Build, large: Path, small: Path, tags: Path, movies: Path
) -> None:
    tables = build(
        *("ml-1m-joint", "--movielens", str(large), "--tags", str(tags)),
        *("--questions", str(movies), "--links", str(small / "links.csv")),
    )
    assert [item["title"] for item in tables["items"]] == [f"Film {n} (1999)" for n in range(1, 6)]
    assert {row["query_id"]: row["kind"] for row in tables["queries"]} == {
        **dict.fromkeys(("t0", "t2", "t3"), "tag"),
        **dict.fromkeys(("qa1", "qa2", "qb1"), "question"),
    }
    assert {row["item_id"] for row in tables["qrels"]} <= {
        item["item_id"] for item in tables["items"]
    }


def test_beauty_is_a_line_a_user(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "Beauty.txt", "1 1 2 10", "2 2 1")
    tables = build("beauty", "--sequences", str(path))
    assert [tuple(row.values()) for row in tables["interactions"]] == [
        ("1", "1", "0"),
        ("1", "2", "1"),
        ("1", "10", "2"),
        ("2", "2", "0"),
        ("2", "1", "1"),
    ]
    assert [row["item_id"] for row in tables["items"]] == ["1", "2", "10"]
    assert "interactions: 5 rows; measured: 198,502" in capsys.readouterr().out
