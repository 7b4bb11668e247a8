"""The measurement of steps against the size of the catalog."""

import catalog_growth
import pytest
import torch

from twofold.training.config import resolve_config


@pytest.mark.parametrize("way", catalog_growth.WAYS)
def test_every_way_learns_and_its_parts_are_the_step(way: str) -> None:
    training = catalog_growth.Training(300, way)
    steps = [training.step() for _ in range(2)]
    assert steps[0]["loss"] > steps[1]["loss"] > 0
    for step in steps:
        parts = step["forward"] + step["backward"] + step["optimizer"]
        assert step["step"] == pytest.approx(parts)


def test_ways_of_the_full_softmax_have_the_same_loss() -> None:
    losses = [catalog_growth.Training(300, way).step()["loss"] for way in ("full", "chunked")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_by_itself_the_size_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve_config(full_softmax_max_codes=300)
    monkeypatch.setattr(catalog_growth, "resolve_config", lambda: config)
    few, many = (catalog_growth.Training(items, "auto") for items in (300, 301))
    assert not few.loss.is_sparse
    assert many.loss.is_sparse
    (table,) = many.backbone.embedding_tables()
    many.step()
    assert isinstance(table.grad, torch.Tensor)
    assert table.grad.is_sparse


def test_operations_grow_with_the_codes_that_are_scored() -> None:
    def operations(items: int, way: str) -> float:
        return catalog_growth.Training(items, way).step()["operations"]

    contexts, width = catalog_growth.IN_BATCH * catalog_growth.HISTORY, 128
    assert operations(400, "full") - operations(300, "full") == 6 * contexts * width * 100
    assert operations(400, "sparse") == operations(300, "sparse")
