"""Bi-encoder and history mean against cosines written out by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import WriteFolder
from twofold.baselines.dense import BiEncoder, FrozenEncoder, HistoryMean
from twofold.records import InputError, Request
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset

ITEMS = "item_id,title\na,x\nb,xy\nc,yyz\nd,z\n"


class Letters:
    """Counts of x, y and z, of unit length."""

    name = "letters"
    width = 3
    sentence = None

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        counts = np.array([[t.count(c) for c in "xyz"] for t in texts]).reshape(len(texts), 3)
        lengths = np.linalg.norm(counts, axis=1, keepdims=True)
        return np.asarray(counts / np.maximum(lengths, 1e-9), dtype=np.float32)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture
def dataset(write_folder: WriteFolder) -> PreparedDataset:
    interactions = "user_id,item_id\nu,a\nu,b\nu,c\nu,d\n"
    folder = write_folder(items=ITEMS, interactions=interactions, queries=None, qrels=None)
    return load_dataset(folder)


def test_a_bi_encoder_ranks_by_the_cosine_of_query_and_item(dataset: PreparedDataset) -> None:
    ranking = BiEncoder(dataset, Letters()).retrieve([Request("r", query="x")], 4)["r"]
    assert ranking.item_ids == ("a", "b", "d", "c")
    assert ranking.scores == pytest.approx((1.0, np.sqrt(0.5), 0.0, 0.0), abs=1e-6)


@pytest.mark.parametrize("last", [1, 2, None])
def test_a_history_mean_compares_the_mean_of_the_last_items(
    dataset: PreparedDataset, last: int | None
) -> None:
    request = Request("r", history=("a", "b", "d"))
    ranking = HistoryMean(dataset, Letters(), last).retrieve([request], 4)["r"]
    vectors = dict(zip("abcd", Letters().encode(["x", "xy", "yyz", "z"]), strict=True))
    mean = np.mean([vectors[item] for item in request.history[-(last or 3) :]], axis=0)
    expected = {item: float(vectors[item] @ mean) for item in "abcd"}
    assert ranking.item_ids == tuple(sorted(expected, key=lambda i: (expected[i], i), reverse=True))
    assert ranking.scores == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-6)


def test_a_frozen_encoder_reads_query_and_history(dataset: PreparedDataset) -> None:
    """b = (1, 1, 0) / sqrt 2 and d = (0, 0, 1): the query x adds (1, 0, 0)."""
    asked = Request("both", query="x", history=("b",))
    alone = Request("history", history=("d",)), Request("query", query="z"), Request("nothing")
    run = FrozenEncoder(dataset, Letters()).retrieve([asked, *alone], 4)
    assert run["both"].item_ids == ("a", "b", "c", "d")
    assert run["both"].scores[:2] == pytest.approx((1 + 0.5**0.5, 0.5**0.5 + 1), abs=1e-6)
    assert run["history"].item_ids[0] == run["query"].item_ids[0] == "d"
    assert len(run["nothing"]) == 0


def test_items_without_a_text_are_an_error(write_folder: WriteFolder) -> None:
    folder = write_folder(
        items="item_id,title\na,\nb,\n",
        interactions="user_id,item_id\nu,a\nu,b\n",
        queries=None,
        qrels=None,
    )
    with pytest.raises(InputError, match="no item has a text, which bi-encoder needs"):
        BiEncoder(load_dataset(folder), Letters())
