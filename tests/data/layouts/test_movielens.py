"""Raw MovieLens folders, in both layouts, made here."""

from pathlib import Path

import pytest

from twofold.data.sources import read_source
from twofold.records import InputError


def _write(folder: Path, files: dict[str, str], encoding: str = "utf-8") -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding=encoding)
    return folder


def test_the_csv_layout_with_tags(tmp_path: Path) -> None:
    folder = _write(
        tmp_path / "ml",
        {
            "movies.csv": (
                "movieId,title,genres\n1,Alien (1979),Horror|Sci-Fi\n"
                "2,Up (2009),(no genres listed)\n"
            ),
            "ratings.csv": "userId,movieId,rating,timestamp\n7,1,4.0,10\n7,2,3.5,9\n",
            "tags.csv": (
                "userId,movieId,tag,timestamp\n"
                "7,1,Space-Ships!,1\n8,1,spaceships,1\n8,2,Space ships,1\n"
                "7,2,mine,1\n8,2,Dark,1\n7,1,dark,1\n"
            ),
        },
    )
    dataset = read_source(folder)
    assert dataset.catalog.items.rows() == [
        ("1", "Alien (1979)", "1979", "Horror|Sci-Fi"),
        ("2", "Up (2009)", "2009", None),
    ]
    assert dataset.interactions.height == 2
    # "Space-Ships!" and "Space ships" are one query of two users; "mine" and "spaceships" are not.
    assert dataset.queries["query_id"].to_list() == ["tag:dark", "tag:space-ship"]
    assert dataset.queries["text"].to_list() == ["dark", "space ships"]
    assert dataset.qrels.rows() == [
        ("tag:dark", "2", 1),
        ("tag:dark", "1", 1),
        ("tag:space-ship", "1", 1),
        ("tag:space-ship", "2", 1),
    ]


def test_the_dat_layout_has_latin_letters_and_no_tags(tmp_path: Path) -> None:
    files = {
        "movies.dat": "1::Amélie (2001)::Comedy\n",
        "ratings.dat": "1::1::5::978300760\n1::1::4::978300761\n",
    }
    dataset = read_source(_write(tmp_path / "ml-1m", files, "latin-1"))
    assert dataset.catalog.title("1") == "Amélie (2001)"
    assert dataset.queries.height == 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = _write(tmp_path / "ml", {"movies.csv": "movieId,title,genres\n1,Up,x\n"})
    with pytest.raises(InputError, match=r"no ratings.csv, which a MovieLens folder has"):
        read_source(folder)


def test_tags_without_their_column_are_named(tmp_path: Path) -> None:
    files = {
        "movies.csv": "movieId,title,genres\n1,Up,x\n",
        "ratings.csv": "userId,movieId,rating,timestamp\n1,1,5,9\n",
        "tags.csv": "userId,movieId,label\n1,1,x\n",
    }
    with pytest.raises(InputError, match=r"tags.csv: no column 'tag'"):
        read_source(_write(tmp_path / "ml", files))


def test_a_line_of_a_dat_file_is_counted_from_one(tmp_path: Path) -> None:
    files = {"movies.dat": "1::Amélie::x\n", "ratings.dat": "1::1::5::9\n1::2::5::9\n"}
    with pytest.raises(InputError, match=r"ratings.dat line 2: item_id '2' is not in the table"):
        read_source(_write(tmp_path / "ml", files, "latin-1"))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    files = {"movies.dat": "1::Up::x\n", "ratings.dat": "1::1::5::9\n1::1\n"}
    with pytest.raises(InputError, match=r"ratings.dat line 2: 2 fields where 4 are expected"):
        read_source(_write(tmp_path / "ml", files))
