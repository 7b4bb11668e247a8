"""Amazon Reviews 2023 with ESCI's queries, and JDsearch, made here."""

from pathlib import Path

import polars as pl
import pytest

from tests.contracts.test_layouts import json_lines, write
from twofold.data.sources import read_source
from twofold.records import InputError


def _amazon(folder: Path) -> Path:
    products = [
        {
            "main_category": "All Beauty",
            "title": "Howard LC0008 Leather",
            "features": ["Oak", "Tall"],
            "images": [{"thumb": "https://x"}],
            "store": "Howard",
            "parent_asin": parent,
            "details": {"UPC": "1"},
        }
        for parent in ("B1", "B2")
    ]
    reviews = [
        {
            "rating": 5.0,
            "text": "good",
            "images": [],
            "asin": f"{parent}child",
            "parent_asin": parent,
            "user_id": "AE",
            "timestamp": at,
        }
        for parent, at in (("B1", 1588687728923), ("B2", 1589665266052))
    ]
    write(
        folder,
        {"meta_All_Beauty.jsonl": json_lines(*products), "All_Beauty.jsonl": json_lines(*reviews)},
    )
    return folder


def test_amazon_alone(tmp_path: Path) -> None:
    dataset = read_source(_amazon(tmp_path))
    assert dataset.catalog.items.row(0, named=True) == {
        "item_id": "B1",
        "title": "Howard LC0008 Leather",
        "text": "Oak Tall",
        "category": "All Beauty",
        "store": "Howard",
    }
    assert dataset.interactions["item_id"].to_list() == ["B1", "B2"]
    assert dataset.interactions["timestamp"][0] == pytest.approx(1588687728.923, abs=1e-3)
    assert dataset.queries.height == 0
    assert dataset.notes == ()


def test_amazon_with_the_queries_of_esci(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "example_id": range(6),
            "query": ["oak lamp", "oak lamp", "oak lamp", "elm", "lampe", "oak lamp"],
            "query_id": [7, 7, 7, 8, 9, 7],
            "product_id": ["B1", "B1child", "B2child", "B2", "B1", "X"],
            "product_locale": ["us", "us", "us", "us", "es", "us"],
            "esci_label": ["S", "E", "C", "S", "E", "E"],
            "split": ["train"] * 6,
        }
    ).write_parquet(_amazon(tmp_path) / "shopping_queries_dataset_examples.parquet")
    dataset = read_source(tmp_path)
    assert dataset.queries.select("query_id", "text").rows() == [("7", "oak lamp"), ("8", "elm")]
    assert dataset.qrels.rows() == [("7", "B1", 2), ("8", "B2", 1)]
    assert [note.count for note in dataset.notes] == [3]


def test_amazon_without_its_reviews(tmp_path: Path) -> None:
    files = {"meta_All_Beauty.jsonl": '{"parent_asin": "B1", "title": "x"}\n'}
    with pytest.raises(InputError, match=r"no All_Beauty.jsonl, the reviews that belong to"):
        read_source(write(tmp_path, files))


PRODUCTS = "".join(
    "\t".join([wid, "3\x184", "9", "5", *(["1", "2\x187"] * 4), "8"]) + "\n"
    for wid in ("456", "889", "256", "345")
)
RELEASE = (
    "12\x1832\x1856\t456_457_789\t3.0_0.0_1.0\t323\x18328_-1_12\x1854\t889_256_345\t"
    "ORD_CLICK_CART\t0_12_4_5\n"
)


def test_jdsearch(tmp_path: Path) -> None:
    dataset = read_source(
        write(tmp_path, {"product_data.txt": PRODUCTS, "release_data.txt": RELEASE})
    )
    assert dataset.catalog.items.row(0)[:4] == ("456", "3 4", "5", "2 7")
    assert dataset.interactions["item_id"].to_list() == ["889", "256", "345"]
    assert dataset.queries.select("text", "split", "user_id").rows() == [
        ("323 328", "train", "u1"),
        ("12 54", "validation", "u1"),
        ("12 32 56", "test", "u1"),
    ]
    assert dataset.qrels.select("item_id", "relevance").rows() == [
        ("889", 3),
        ("345", 2),
        ("456", 3),
    ]
    assert [note.count for note in dataset.notes if "product_data" in note.problem] == [1]


def test_jdsearch_with_lists_of_different_lengths(tmp_path: Path) -> None:
    files = {"product_data.txt": PRODUCTS, "release_data.txt": RELEASE.replace("889_256", "889")}
    with pytest.raises(InputError, match=r"release_data.txt line 1: lists of one row have"):
        read_source(write(tmp_path, files))
    files["release_data.txt"] = RELEASE.replace("1.0", "yes")
    with pytest.raises(InputError, match=r"line 1: candidate_label_list '3.0_0.0_yes' has"):
        read_source(write(tmp_path, files))
