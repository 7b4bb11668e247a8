"""Raw MovieLens folders, in both layouts, made here."""

import gzip
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


def test_the_dat_layout_with_tags_in_utf8(tmp_path: Path) -> None:
    files = {
        "movies.dat": "1::Amélie: a::b (2001)::Comedy\r\n\r\n",
        "ratings.dat": "1::1::5::978300760\n",
        "tags.dat": "7::1::Space-Ships!::1\n8::1::spaceships::1\n8::1::Space ships::1\n",
    }
    dataset = read_source(_write(tmp_path / "ml-10m", files))
    assert dataset.catalog.title("1") == "Amélie: a::b (2001)"
    assert dataset.queries["query_id"].to_list() == ["tag:space-ship"]


def test_a_file_that_is_mostly_utf8_is_not_read_as_latin_letters(tmp_path: Path) -> None:
    folder = _write(tmp_path / "ml", {"movies.dat": "1::éèà::x\n", "ratings.dat": "1::1::5::9\n"})
    broken = (folder / "movies.dat").read_bytes() + b"2::\xe9::x\n"
    (folder / "movies.dat").write_bytes(broken)
    with pytest.raises(InputError, match=r"movies.dat line 2: byte 0xe9 is not UTF-8"):
        read_source(folder)


def test_the_100k_layout(tmp_path: Path) -> None:
    flags = ["0"] * 19
    flags[3] = flags[5] = "1"
    files = {
        "u.item": f"1|Café (1995)|01-Jan-1995||http://x|{'|'.join(flags)}\n",
        "u.data": "196\t1\t3\t881250949\n",
    }
    dataset = read_source(_write(tmp_path / "ml-100k", files, "latin-1"))
    assert dataset.catalog.items.row(0) == ("1", "Café (1995)", "1995", "Animation|Comedy")
    assert dataset.interactions.row(0) == ("196", "1", 881250949.0)


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


def test_compressed_files_are_read(tmp_path: Path) -> None:
    folder = _write(tmp_path / "ml", {"movies.csv": "movieId,title,genres\n1,Alien,Horror\n"})
    packed = gzip.compress(b"userId,movieId,rating,timestamp\n7,1,4.0,10\n")
    (folder / "ratings.csv.gz").write_bytes(packed)
    assert read_source(folder).interactions.height == 1
