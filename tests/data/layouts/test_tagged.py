"""Goodbooks-10k and HetRec's Last.fm, made here."""

from pathlib import Path

import pytest

from tests.contracts.test_layouts import write
from twofold.data.sources import read_source
from twofold.records import InputError

BOOKS = (
    "book_id,goodreads_book_id,best_book_id,authors,original_publication_year,title,language_code\n"
    '1,77,77,"Suzanne Collins, A B",2008.0,"The Hunger Games (The Hunger Games, #1)",eng\n'
    "2,3,3,J.K. Rowling,1997.0,Harry Potter,eng\n"
)
TAGS = {
    "ratings.csv": "user_id,book_id,rating\n1,2,5\n1,1,4\n",
    "tags.csv": "tag_id,tag_name\n10,young-adult\n11,to-read\n",
    "book_tags.csv": "goodreads_book_id,tag_id,count\n77,10,5\n3,10,1\n3,11,9\n999,10,9\n",
}


@pytest.mark.parametrize(
    "books", [BOOKS, BOOKS.replace("book_id,goodreads_book_id,", "id,book_id,", 1)]
)
def test_goodbooks_in_both_editions(tmp_path: Path, books: str) -> None:
    dataset = read_source(write(tmp_path, {"books.csv": books, **TAGS}))
    assert dataset.catalog.items.row(0, named=True) == {
        "item_id": "1",
        "title": "The Hunger Games (The Hunger Games, #1)",
        "authors": "Suzanne Collins|A B",
        "year": "2008.0",
        "language": "eng",
    }
    assert dataset.interactions["item_id"].to_list() == ["2", "1"]
    assert sorted(dataset.qrels.rows()) == [("tag:to-read", "2", 1), ("tag:young-adult", "1", 1)]
    assert "young adult" in dataset.queries["text"].to_list()


def test_a_tag_on_many_books_is_a_shelf(tmp_path: Path) -> None:
    head = BOOKS.partition("\n")[0] + "\n"
    books = head + "".join(f"{n},{n},{n},A,2000,Book {n},eng\n" for n in range(1, 31))
    given = "goodreads_book_id,tag_id,count\n1,10,5\n" + "".join(
        f"{n},11,9\n" for n in range(1, 31)
    )
    files = {"books.csv": books, **TAGS, "book_tags.csv": given}
    dataset = read_source(write(tmp_path, files))
    assert dataset.queries["text"].to_list() == ["young adult"]
    assert any("tag 'to read' is on more than 20 books" in note.problem for note in dataset.notes)


LASTFM = {
    "artists.dat": "id\tname\turl\tpictureURL\n51\tDuran Duran\thttp://a\thttp://b\n"
    "52\tMötley Crüe\thttp://c\n",
    "user_artists.dat": "userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n",
    "tags.dat": "tagID\ttagValue\n1\tmetal\n2\t80's\n",
    "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\n"
    "2\t52\t1\t1\t4\t2009\n3\t52\t1\t1\t4\t2009\n2\t51\t2\t1\t4\t2009\n2\t99\t2\t1\t4\t2009\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_lastfm(tmp_path: Path, encoding: str) -> None:
    dataset = read_source(write(tmp_path, LASTFM, encoding))
    assert dataset.catalog.items.rows() == [("51", "Duran Duran"), ("52", "Mötley Crüe")]
    assert dataset.interactions["item_id"].to_list() == ["51", "52"]
    assert dataset.queries["text"].to_list() == ["metal"]
    assert dataset.qrels["item_id"].to_list() == ["52"]
    problems = " / ".join(note.problem for note in dataset.notes)
    assert "artist '99' is not in artists.dat" in problems
    assert "plays have no time" in problems


def test_lastfm_with_another_header(tmp_path: Path) -> None:
    files = {**LASTFM, "tags.dat": "tag\tvalue\n1\tmetal\n"}
    with pytest.raises(InputError, match=r"tags.dat line 1: the header is tag, value where tagID"):
        read_source(write(tmp_path, files))
