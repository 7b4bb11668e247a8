"""What the data say of joint training, counted by hand and in worlds that are known."""

import numpy as np
import pytest

from tests.conftest import WriteFolder
from twofold.records import Task
from twofold.studies.forecast.features import FEATURES, Probe, features
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset

_SMALL = "groups=30"


def _of(dataset: PreparedDataset, task: Task, text: bool = False) -> dict[str, float]:
    return dict(zip(FEATURES, features(dataset, task, text=text).tolist(), strict=True))


def test_a_probe_finds_what_the_other_task_tells() -> None:
    """Histories show pairs within half a group; at rho = 1 queries tell the other half."""
    told = load_dataset(f"simulate:latent-search-helps:rho=1,{_SMALL}")
    untold = load_dataset(f"simulate:latent-search-helps:rho=0,{_SMALL}")
    much, little = (_of(world, "recommendation") for world in (told, untold))
    assert much["pairs_gain"] > 0.2 > little["pairs_gain"] + 0.1
    assert much["agreement"] > little["agreement"] + 0.1
    turned = load_dataset(f"simulate:latent-recommendation-helps:rho=1,{_SMALL}")
    plain = load_dataset(f"simulate:latent-recommendation-helps:rho=0,{_SMALL}")
    assert _of(turned, "search")["pairs_gain"] > _of(plain, "search")["pairs_gain"] + 0.1


def test_counts_of_the_other_task_help_where_popularity_is_shared() -> None:
    sizes = "items=300,targets=100,added=2000,tests=200"
    same = load_dataset(f"simulate:popularity:kl=0,{sizes}")
    other = load_dataset(f"simulate:popularity:kl=3,{sizes}")
    near, far = (_of(world, "recommendation") for world in (same, other))
    assert near["popularity_gain"] > 0 > far["popularity_gain"]
    assert near["divergence"] < far["divergence"]


def test_sizes_and_overlap_by_hand(write_folder: WriteFolder) -> None:
    """Four users train on a b (c validates, d tests); search trains on a and e."""
    rows = "".join(f"{user},{item},{n}\n" for user in "wxyz" for n, item in enumerate("abcd"))
    folder = write_folder(
        items="item_id,title\n" + "".join(f"{item},\n" for item in "abcde"),
        interactions=f"user_id,item_id,timestamp\n{rows}",
        queries="query_id,text,split\nq1,one,train\nq2,two,train\nq3,one more,validation\n"
        "q4,x,test\n",
        qrels="query_id,item_id\nq1,a\nq2,e\nq3,a\nq4,b\n",
    )
    found = _of(load_dataset(folder), "search")
    assert found["log_own_targets"] == pytest.approx(np.log10(2 / 5))
    assert found["log_added_targets"] == pytest.approx(np.log10(8 / 5))
    assert found["overlap"] == 0.5
    assert found["pairs_over_popularity"] == found["pairs_gain"] == 0.0  # both find all
    assert found["text"] == 0.0


def test_no_test_request_is_read(catalog: PreparedDataset) -> None:
    """The features of a dataset whose test answers are other ones are the same."""

    import polars as pl

    tested = catalog.queries.filter(pl.col("split") == "test")["query_id"]
    held = pl.col("query_id").is_in(tested.implode())
    first = catalog.catalog.item_ids[0]
    answers = pl.when(held).then(pl.lit(first)).otherwise(pl.col("item_id")).alias("item_id")
    changed = catalog.with_tables(qrels=catalog.qrels.with_columns(answers))
    assert (
        changed.task("search").requests("test").qrels
        != catalog.task("search").requests("test").qrels
    )
    for task in catalog.tasks:
        assert (
            features(changed, task, text=True).tolist()
            == features(catalog, task, text=True).tolist()
        )


def test_near_items_are_those_of_the_same_histories(write_folder: WriteFolder) -> None:
    rows = "".join(f"u{n},{item},{m}\n" for n in range(3) for m, item in enumerate("abcd"))
    folder = write_folder(
        items="item_id,title\na,\nb,\nc,\nd,\n",
        interactions=f"user_id,item_id,timestamp\n{rows}",
        queries="query_id,text,split\nq1,one,train\n",
        qrels="query_id,item_id\nq1,a\nq1,c\n",
    )
    probe = Probe(load_dataset(folder), text=False)
    near = probe.near_in_histories.toarray()
    assert near[0] == pytest.approx([0, 1, 0, 0])
    assert probe.near_in_queries.toarray()[0] == pytest.approx([0, 0, 1, 0])
