"""Qilin's folders of Parquet, made here."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twofold.data.sources import read_source
from twofold.records import InputError

NOTES = {
    "note_title": ["广场舞", None, "咖啡"],
    "note_content": ["一起跳", "笔记正文", None],
    "note_type": [1, 2, 1],
    "video_duration": [None, 12.5, None],
    "taxonomy1_id": ["a1", "nan", "a2"],
    "taxonomy2_id": ["b1", None, "b2"],
    "taxonomy3_id": ["c1", None, "c2"],
    "imp_num": [10.0, 4.0, 3.0],
    "note_idx": [0, 1, 2],
    "image_path": [["image/part_1/0.jpg"], [], ["image/part_2/1.jpg"]],
}


def _result(note: int | None, click: float, name: str, time: float) -> dict[str, Any]:
    return {
        "click": click,
        "collect": 0.0,
        "comment": 0.0,
        "like": click,
        "note_idx": note,
        "page_time": float("nan"),
        "position": 0.0,
        name: time,
        "share": 0.0,
    }


def _recommended(request: int, *results: tuple[int | None, float]) -> dict[str, Any]:
    shown = [_result(*r, "request_timestamp", 1.72e9 + request) for r in results]
    return {
        "recent_clicked_note_idxs": [2, 1],
        "request_idx": request,
        "session_idx": 5,
        "user_idx": 7,
        "query": "",
        "rec_result_details_with_idx": shown,
    }


def _searched(search: int, query: str, *results: tuple[int | None, float]) -> dict[str, Any]:
    shown = [_result(*r, "search_timestamp", 1.73e9 + search) for r in results]
    return {
        "query": query,
        "query_from_type": 1.0,
        "recent_clicked_note_idxs": [0],
        "search_idx": search,
        "session_idx": 5,
        "user_idx": 7,
        "dpr_results": [[0.0, 1.5]],
        "search_result_details_with_idx": shown,
    }


def _write(folder: Path, **tables: Any) -> Path:
    for name, rows in tables.items():
        (folder / name).mkdir(parents=True)
        pl.DataFrame(rows).write_parquet(folder / name / "train-00000-of-00001.parquet")
    return folder


def _published(folder: Path) -> Path:
    return _write(
        folder,
        notes=NOTES,
        recommendation_train=[_recommended(1, (0, 1.0), (1, 0.0)), _recommended(2, (2, 2.0))],
        recommendation_test=[_recommended(9, (1, 1.0), (77, 1.0))],
        search_train=[_searched(0, "跳舞", (0, 1.0), (0, 1.0)), _searched(1, "拿铁", (2, 1.0))],
        search_test=[_searched(0, "咖啡", (2, 0.0), (1, 1.0))],
        user_feat={"user_idx": [7], "gender": ["F"], "dense_feat1": [0.5]},
        dqa={"query": ["x"]},
    )


def test_both_sides(tmp_path: Path) -> None:
    dataset = read_source(_published(tmp_path))
    assert dataset.catalog.items.rows() == [
        ("0", "广场舞", "一起跳", "a1", "b1", "c1"),
        ("1", "", "笔记正文", None, None, None),
        ("2", "咖啡", None, "a2", "b2", "c2"),
    ]
    assert dataset.interactions.rows() == [
        ("7", "0", 1.72e9 + 1),
        ("7", "2", 1.72e9 + 2),
        ("7", "1", 1.72e9 + 9),
    ]
    asked = dataset.queries.select("query_id", "text", "split", "user_id", "timestamp").rows()
    assert [row[:2] + row[3:] for row in asked] == [
        ("search_train:0", "跳舞", "7", 1.73e9),
        ("search_train:1", "拿铁", "7", 1.73e9 + 1),
        ("search_test:0", "咖啡", "7", 1.73e9),
    ]
    assert {row[2] for row in asked[:2]} <= {"train", "validation"}
    assert asked[2][2] == "test"
    assert dataset.qrels.rows() == [
        ("search_train:0", "0", 1),
        ("search_train:1", "2", 1),
        ("search_test:0", "1", 1),
    ]
    counts = {(note.count, note.unit, note.problem) for note in dataset.notes}
    assert (1, "result", "a note was shown and not clicked") in counts
    assert (1, "click", "a clicked note is not among the notes") in counts


@pytest.mark.parametrize(("name", "time"), [("timestamp", 1.72e9), ("unknown", None)])
def test_times_by_another_name_or_none(tmp_path: Path, name: str, time: float | None) -> None:
    shown = {"user_idx": [1], "request_idx": [1]}
    details = [[_result(0, 1.0, name, 1.72e9), _result(2, 1.0, name, 1.72e9)]]
    rows = {**shown, "rec_result_details_with_idx": details}
    dataset = read_source(_write(tmp_path, notes=NOTES, recommendation_train=rows))
    assert dataset.interactions["timestamp"].to_list() == [time, time]
    assert dataset.queries.height == 0


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    rows = {"user_idx": [1], "search_idx": [1], "query": ["x"]}
    folder = _write(tmp_path / "a", notes=NOTES, search_train=rows)
    with pytest.raises(InputError, match=r"search_train.*no column 'search_result_details_with"):
        read_source(folder)
    rows["search_result_details_with_idx"] = ["[]"]
    folder = _write(tmp_path / "b", notes=NOTES, search_train=rows)
    with pytest.raises(InputError, match=r"details_with_idx' holds no lists of objects with click"):
        read_source(folder)
    (folder / "notes" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(InputError, match="not readable as Parquet, download it again"):
        read_source(folder)
