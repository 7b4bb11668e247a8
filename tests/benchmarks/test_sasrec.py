"""What the comparison with RecTools writes for the peer, reads from it, and concludes."""

import json
import logging
from pathlib import Path

import polars as pl
import sasrec
from pages import render_table
from rectools_peer import read_answers, without_queries, write_split

from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset


def small_dataset(folder: Path) -> PreparedDataset:
    folder.mkdir()
    (folder / "items.csv").write_text(
        "item_id,title\n" + "".join(f"{n},Film {n}\n" for n in range(9))
    )
    events = [(user, item) for user in "ab" for item in range(4)]
    rows = "".join(f"{user},{item},{item}\n" for user, item in events)
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + rows)
    return load_dataset(str(folder))


def test_the_peer_reads_the_same_split_in_the_order_of_events(tmp_path: Path) -> None:
    write_split(without_queries(small_dataset(tmp_path / "data")), tmp_path / "split")
    tables = {
        split: pl.read_csv(tmp_path / "split" / f"{split}.csv").rows()
        for split in ("train", "validation", "test")
    }
    assert tables["train"] == [("a", 0, 0), ("a", 1, 1), ("b", 0, 0), ("b", 1, 1)]
    assert tables["validation"] == [("a", 2, 2), ("b", 2, 2)]
    assert tables["test"] == [("a", 3, 3), ("b", 3, 3)]


def test_answers_are_read_in_the_order_of_their_ranks(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("user_id,item_id,rank\n7,30,2\n7,10,1\n8,20,1\n")
    run = read_answers(tmp_path)
    assert {user: run[user].item_ids for user in run} == {"7": ("10", "30"), "8": ("20",)}


def test_seconds_are_those_until_the_first_validation_at_the_goal(tmp_path: Path) -> None:
    curves = {"RecTools": [(10, 0.05), (20, 0.10)], "ours": [(1, 0.10), (2, 0.19), (3, 0.20)]}
    for side, points in curves.items():
        place = tmp_path / f"{side}-time-0"
        place.mkdir()
        curve = [{"seconds": seconds, "value": value} for seconds, value in points]
        (place / "curve.json").write_text(json.dumps(curve))
    lines = list(render_table(sasrec.time_table(tmp_path)))
    assert "| RecTools | not reached | .1000 | 20 |" in lines
    assert "| ours | 2 | .2000 | 3 |" in lines


def test_the_ratio_is_that_of_the_means() -> None:
    values = {
        "ours": [{"Recall@10": 0.2, "nDCG@10": 0.1}, {"Recall@10": 0.4, "nDCG@10": 0.1}],
        "RecTools": [{"Recall@10": 0.2, "nDCG@10": 0.2}],
    }
    assert "| ours / RecTools | 1.5000 | .5000 |" in render_table(sasrec.quality_table(values))


def test_a_curve_is_what_training_logs() -> None:
    handler = sasrec.CurveHandler()
    logger = logging.getLogger("tests.curve")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    logger.debug("%s: %.1f s of steps, %s", "joint", 2.5, {"step": 8, "value": 0.1})
    logger.debug("nothing to keep")
    assert handler.curve == [{"seconds": 2.5, "value": 0.1}]


def test_speed_is_compared_round_by_round() -> None:
    def answer(seconds: float, targets: float) -> dict[str, float]:
        return {"seconds": seconds, "targets": targets, "peak": 500.0}

    rounds = [
        {"RecTools": answer(2.0, 400), "ours": answer(0.1, 200)},
        {"RecTools": answer(4.0, 400), "ours": answer(0.1, 200)},
        {"RecTools": answer(1.0, 400), "ours": answer(0.1, 200)},
    ]
    theirs, ours = sasrec.speed_records(rounds, {"RecTools": 2, "ours": 10})
    assert theirs["times RecTools'"] == [1.0, 1.0, 1.0]
    assert theirs["targets a second"] == 100  # 400 targets of two steps of 2 seconds
    assert ours["targets a second"] == 200
    assert ours["times RecTools'"] == [2.0, 1.0, 4.0]
