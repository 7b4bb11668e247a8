"""KuaiSAR's and KuaiSearch's folders, made here."""

from pathlib import Path

import pytest

from tests.contracts.test_layouts import json_lines, write
from twofold.data.sources import read_source
from twofold.records import InputError

FILES = {
    "item_features.csv": (
        "item_id,caption,author_id,first_level_category_name,first_level_category_name_en,"
        "second_level_category_name_en\n"
        '1,"[1, 213, 24]",10,搞笑,Funny,empty\n2,[],11,搞笑,Funny,Joke\n'
    ),
    "rec_inter.csv": (
        "user_id,item_id,playing_time,duration_ms,time,timestamp,click\n"
        "7,1,60792.0,45400.0,2023-05-22 15:53:20,1684742000000.0,1\n"
        "7,2,60792.0,45400.0,2023-05-22 15:53:20,1684742000000.0,0\n"
    ),
    "src_inter.csv": (
        "user_id,search_session_id,search_session_time,search_session_timestamp,keyword,"
        "search_source,item_id,click_cnt,item_type\n"
        '7,5,2023-05-22 21:58:52,1684763932919,"[20, 34, 3]",USER_INPUT,2,2,VIDEO\n'
        '7,5,2023-05-22 21:58:52,1684763932919,"[20, 34, 3]",USER_INPUT,1,0,VIDEO\n'
        '7,6,2023-05-22 21:59:52,1684763992919,"[9]",USER_INPUT,99,1,USER\n'
    ),
}


def test_kuaisar(tmp_path: Path) -> None:
    dataset = read_source(write(tmp_path, FILES))
    assert dataset.catalog.items.rows() == [
        ("1", "1 213 24", "Funny", None),
        ("2", "", "Funny", "Joke"),
    ]
    assert dataset.interactions.rows() == [("7", "1", 1684742000.0)]
    assert dataset.queries.select("query_id", "text", "user_id").row(0) == ("7:5", "20 34 3", "7")
    assert dataset.queries["timestamp"][0] == pytest.approx(1684763932.919, abs=1e-3)
    assert dataset.qrels.rows() == [("7:5", "2", 1)]
    problems = " / ".join(note.problem for note in dataset.notes)
    assert "an item was shown and not clicked" in problems
    assert "an item is not in item_features.csv" in problems


PRODUCTS = [
    {
        "item_id": 58,
        "item_title": "广场舞服装",
        "brand_name": "无品牌",
        "seller_name": "舞之家",
        "category_level1_name": "服饰",
        "category_level2_name": "女装",
        "category_level3_name": None,
    },
    {"item_id": 63, "item_title": "智能手机", "brand_name": "小米", "seller_name": "数码"},
]


def _search(session: int, query: str, time: int, **more: object) -> dict[str, object]:
    return {
        "user_id": 1,
        "session_id": session,
        "time_index": time,
        "search_entrance": "search_entrance_ksstore",
        "query": query,
        "impressed_item_ids": list(range(40)),
        "clicked_item_ids": [],
        "purchased_item_ids": [],
        "split": "train",
        **more,
    }


SEARCHES = [
    _search(1, "广场舞服装女高档洋气", 384565, clicked_item_ids=[58, 63], purchased_item_ids=[63]),
    _search(1, "手机", 384600, clicked_item_ids=[63, 99]),
    _search(2, "手机", 384700, split="test", purchased_item_ids=[58]),
    _search(3, "灯", 384800),
]
LITE = {
    "items_lite/train.jsonl": json_lines(*PRODUCTS),
    "recall_lite/train.jsonl": json_lines(*SEARCHES),
    "users_lite/train.jsonl": json_lines({"user_id": 1, "gender": "F", "age_bucket": "31-40"}),
    "rank_lite/train.jsonl": json_lines({"user_id": 1, "target_item_id": 58, "is_clicked": 1}),
}


def test_kuaisearch(tmp_path: Path) -> None:
    dataset = read_source(write(tmp_path, LITE))
    assert dataset.catalog.items.row(0, named=True) == {
        "item_id": "58",
        "title": "广场舞服装",
        "brand": None,
        "seller": "舞之家",
        "first_category": "服饰",
        "second_category": "女装",
        "third_category": None,
    }
    assert dataset.interactions.rows() == [
        ("1", "58", 384565.0),
        ("1", "63", 384565.0),
        ("1", "63", 384600.0),
        ("1", "58", 384700.0),
    ]
    assert dataset.queries.select("query_id", "text", "split", "timestamp").rows() == [
        ("1:1", "广场舞服装女高档洋气", "train", 384565.0),
        ("1:1:2", "手机", "train", 384600.0),
        ("1:2", "手机", "test", 384700.0),
        ("1:3", "灯", "train", 384800.0),
    ]
    assert dataset.qrels.rows() == [
        ("1:1", "58", 1),
        ("1:1", "63", 3),
        ("1:1:2", "63", 1),
        ("1:2", "58", 3),
    ]
    assert [(n.count, n.unit) for n in dataset.notes if "file of products" in n.problem] == [
        (1, "choice")
    ]


def test_kuaisearch_as_its_code_names_the_files(tmp_path: Path) -> None:
    files = {"corpus.jsonl": json_lines(*PRODUCTS), "recall.jsonl": json_lines(*SEARCHES)}
    assert read_source(write(tmp_path, files)).qrels.height == 4


def test_kuaisearch_in_both_editions(tmp_path: Path) -> None:
    more = {"item_id": 99, "item_title": "耳机"}
    whole = {
        "items/train-00000-of-00002.jsonl": json_lines(*PRODUCTS),
        "items/train-00001-of-00002.jsonl": json_lines(more),
        "recall/train.jsonl": json_lines(*SEARCHES),
    }
    dataset = read_source(write(tmp_path / "a", LITE | whole))
    assert dataset.catalog.item_ids == ["58", "63", "99"]
    assert any("KuaiSearch-Lite is a part of KuaiSearch" in n.problem for n in dataset.notes)
    mixed = {name: text for name, text in (LITE | whole).items() if "items_lite" not in name}
    del mixed["recall/train.jsonl"]
    with pytest.raises(InputError, match="products and searches are of different editions"):
        read_source(write(tmp_path / "b", mixed))


def test_a_tenth_of_the_training_queries_is_validation(tmp_path: Path) -> None:
    searches = [_search(n, f"灯 {n}", n, clicked_item_ids=[58]) for n in range(400)]
    files = {"items.jsonl": json_lines(*PRODUCTS), "recall.jsonl": json_lines(*searches)}
    splits = read_source(write(tmp_path, files)).queries["split"].to_list()
    assert 20 < splits.count("validation") < 60
    assert set(splits) == {"train", "validation"}
