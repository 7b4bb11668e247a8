"""KuaiSAR's folder, made here."""

from pathlib import Path

import pytest

from tests.contracts.test_layouts import write
from twofold.data.sources import read_source

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


def test_both_sides(tmp_path: Path) -> None:
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
