"""The data report counts right."""

import pytest

from tests.conftest import WriteFolder
from twofold.tasks import report as report_module
from twofold.tasks.report import data_report
from twofold.tasks.report_text import report_text
from twofold.tasks.storage import load_dataset


def test_the_report_counts(write_folder: WriteFolder) -> None:
    queries = "query_id,text,split\n" + "".join(
        f"q{n},{text},{split}\n"
        for n, (text, split) in enumerate(
            [
                ("one two three four five", "train"),
                ("five four three two ONE", "test"),
                ("alpha", "train"),
                ("nothing alike", "test"),
            ]
        )
    )
    qrels = "query_id,item_id\nq0,a\nq0,e\nq1,b\nq2,a\nq3,c\n"
    dataset = load_dataset(write_folder(queries=queries, qrels=qrels))
    report = data_report(dataset)
    assert report["sizes"] == {
        "items": 5,
        "items_with_text": 5,
        "items_without_title": 1,
        "users": 4,
        "users_that_only_train": 1,
        "users_not_used": 0,
        "interactions": 14,
        "queries": 4,
        "qrels": 5,
    }
    assert "5 items, 5 of them with text, 1 without a title" in report_text(report)
    # Trained on: a and e in search; a, b, c, d, e in recommendation.
    assert report["overlap"]["items_in_both"] == 2
    assert report["overlap"]["items_in_recommendation_only"] == 3
    assert report["overlap"]["recommended_also_searched"] == pytest.approx(0.4)
    assert report["queries"]["near_duplicates_of_training"] == 1
    assert report["queries"]["equal_to_a_title"] == 1
    assert "1 test queries share at least 80% of their words" in report_text(report)


def test_one_side_alone_reports_too(write_folder: WriteFolder) -> None:
    dataset = load_dataset(write_folder(queries=None, qrels=None))
    report = data_report(dataset)
    assert report["tasks"] == ["recommendation"]
    assert report["divergence"] is None
    assert "Interactions: 14" in report_text(report)


def test_an_empty_split_is_noted_with_what_it_needs(write_folder: WriteFolder) -> None:
    interactions = "user_id,item_id,timestamp\nu1,a,1\nu2,b,1\nu2,c,2\n"
    queries = "query_id,text,split\nq1,first,train\nq2,second,test\n"
    qrels = "query_id,item_id\nq1,a\nq2,b\n"
    dataset = load_dataset(
        write_folder(interactions=interactions, queries=queries, qrels=qrels), split="last"
    )
    text = report_text(data_report(dataset))
    for split in ("validation", "test"):
        assert f"No {split} requests for recommendation" in text
    assert "No validation requests for search" in text
    assert "No test requests for search" not in text
    assert "No train requests" not in text


def test_popularity_is_compared_only_between_tasks_with_targets(write_folder: WriteFolder) -> None:
    untrained = "query_id,text,split\nq1,first,test\nq2,second,validation\n"
    qrels = "query_id,item_id\nq1,a\nq2,b\n"
    report = data_report(load_dataset(write_folder(queries=untrained, qrels=qrels)))
    assert report["divergence"] is None
    assert "Jensen-Shannon" not in report_text(report)
    both = data_report(load_dataset(write_folder("whole")))
    assert "nats (0: equal; the most is 0.693)" in report_text(both)


@pytest.mark.parametrize(
    ("without", "line"),
    [
        (("queries", "qrels"), "recommendation alone, since there are no queries with a relevant"),
        (("interactions",), "search alone, since there are no interactions."),
        ((), None),
    ],
)
def test_a_task_without_tables_is_noted(
    write_folder: WriteFolder, without: tuple[str, ...], line: str | None
) -> None:
    text = report_text(data_report(load_dataset(write_folder(**dict.fromkeys(without)))))
    assert (f"- Tasks: {line}" in text) if line else ("- Tasks: " not in text)


def test_a_temporal_split_of_queries_reports_seen_and_unseen(write_folder: WriteFolder) -> None:
    queries = "query_id,text,timestamp\n" + "".join(f"q{n},word {n},{n}\n" for n in range(10))
    queries += "q10,Word 3,100\nq11,novel,100\n"
    qrels = "query_id,item_id\n" + "".join(f"q{n},a\n" for n in range(12))
    dataset = load_dataset(write_folder(queries=queries, qrels=qrels), "temporal", 50)
    assert dataset.queries["split"].to_list() == ["train"] * 9 + ["validation", "test", "test"]
    splits = data_report(dataset)["splits"]
    assert splits["test_queries_seen_in_training"] == 1
    assert splits["test_queries_unseen"] == 1
    assert "1 were typed before the cutoff, 1 are new" in report_text(data_report(dataset))


def test_of_many_queries_some_are_compared(
    write_folder: WriteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = "query_id,text,split\n" + "".join(
        f"q{n},one two three {n},{('train', 'test')[n % 2]}\n" for n in range(40)
    )
    qrels = "query_id,item_id\n" + "".join(f"q{n},a\n" for n in range(40))
    dataset = load_dataset(write_folder(queries=queries, qrels=qrels))
    monkeypatch.setattr(report_module, "NEAR_DUPLICATE", 0.6)
    assert data_report(dataset)["queries"]["near_duplicates_of_training"] == 20
    monkeypatch.setattr(report_module, "_MOST_PAIRS", 100)
    monkeypatch.setattr(report_module, "_MOST_TEST", 5)
    report = data_report(dataset)
    assert report["queries"]["near_duplicates_of_training"] == 5
    assert report["queries"]["near_duplicates_looked_at"] == 5
    assert "5 of 5 test queries that were compared share" in report_text(report)
