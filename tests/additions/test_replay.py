"""A log replayed for a model that it was not written with."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from twofold.additions.log import CatalogChange, ChangeLog
from twofold.additions.placement import ItemPlacer
from twofold.data.dataset import Catalog
from twofold.records import InputError, Request
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.serving.engines.catalog_engine import CatalogEngine, load_engine
from twofold.serving.engines.engine import TopK

ROBOTS = {"item_id": "new", "title": "Robots in love", "genre": "Comedy"}
WORDLESS = {"item_id": "wordless", "title": "Qwrtz"}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ChangeLog]:
    made = ChangeLog(tmp_path / "state")
    yield made
    made.close()


def added(*rows: dict[str, str]) -> CatalogChange:
    """A change that another model made."""
    return CatalogChange("add", list(rows), {"another": "its places"})


def removed(*item_ids: str) -> CatalogChange:
    return CatalogChange("remove", [{"item_id": item_id} for item_id in item_ids])


def engine_of(folder: Path, log: ChangeLog, *without: str) -> CatalogEngine:
    """A model whose catalog lacks some columns."""
    model = load_model(folder).model
    model = replace(model, catalog=Catalog.of(model.catalog.items.drop(without)))
    return CatalogEngine(GenerativeRetriever(model, "joint"), "m1", log)


def found(engine: CatalogEngine, k: int = 100) -> dict[str, float]:
    (items,) = engine.answer([TopK(Request("r", query="robots"), k)])
    return {item.item_id: item.score for item in items}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_an_item_that_was_removed_later_need_not_fit(
    model_folder: Path, log: ChangeLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.append(added({**ROBOTS, "colour": "red"}, WORDLESS))
    log.append(removed("new", "wordless", "film-1"))
    engine = engine_of(model_folder, log)
    assert engine.items == len(found(engine)) == 59
    assert warnings(caplog) == []


def test_an_attribute_that_the_catalog_lacks_is_left_out_and_named(
    model_folder: Path, log: ChangeLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.append(added(ROBOTS, {"item_id": "other", "title": "A wedding"}))
    engine = engine_of(model_folder, log, "genre")
    assert {"new", "other"} <= found(engine).keys()
    assert warnings(caplog) == [
        "model 'joint' adds item 'new' without genre, which its catalog does not have"
    ]


def test_an_item_without_a_place_is_left_out_and_named(
    model_folder: Path, log: ChangeLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.append(added(WORDLESS, ROBOTS))
    log.append(removed("film-1"))
    engine = engine_of(model_folder, log)
    assert engine.item("wordless") is None
    assert "new" in found(engine)
    assert "film-1" not in found(engine)
    (said,) = warnings(caplog)
    assert said.startswith(
        "model 'joint' leaves out item 'wordless': its text has no word that the"
    )
    assert engine.remove(["film-2"]) == 1
    assert len(warnings(caplog)) == 1  # said once


def test_an_item_without_a_free_identifier_is_left_out_and_named(
    semantic_folder: Path, log: ChangeLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.append(added(*({**ROBOTS, "item_id": f"new-{number}"} for number in range(200))))
    engine = load_engine(semantic_folder, "joint", log)
    assert len(found(engine, k=300)) == engine.items
    assert 60 < engine.items < 260
    said = warnings(caplog)
    assert len(said) == 260 - engine.items
    assert said[-1] == (
        "model 'joint' leaves out item 'new-199': no identifier is free near items with such "
        "texts; train the model anew"
    )


def test_a_catalog_without_texts_takes_no_item_and_is_served(
    model_folder: Path,
    log: ChangeLog,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def textless(_: Any) -> ItemPlacer:
        raise InputError("the catalog has no texts")

    monkeypatch.setattr(ItemPlacer, "of", textless)
    log.append(added(ROBOTS, WORDLESS))
    engine = engine_of(model_folder, log)
    assert engine.items == 60
    assert warnings(caplog) == [
        f"model 'joint' leaves out item '{item}': the catalog has no texts"
        for item in ("new", "wordless")
    ]


def test_its_id_alone_brings_an_item_back_to_a_model_that_never_had_it(
    model_folder: Path, log: ChangeLog
) -> None:
    log.append(added(ROBOTS))
    log.append(removed("new"))
    engine = engine_of(model_folder, log)
    assert engine.add([{"item_id": "new"}]) == 1
    assert engine.item("new").title == "Robots in love"  # type: ignore[union-attr]
    again = engine_of(model_folder, log)
    assert found(again) == pytest.approx(found(engine), abs=1e-4)
    assert again.item("new") == engine.item("new")


def test_a_placement_is_not_computed_again(
    model_folder: Path, log: ChangeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_engine(model_folder, "joint", log)
    engine.add([ROBOTS])
    engine.add([ROBOTS, {"item_id": "other", "title": "A wedding"}])
    engine.remove(["other"])
    monkeypatch.setattr(ItemPlacer, "of", lambda _: pytest.fail("it was computed again"))
    again = load_engine(model_folder, "joint", log)
    assert found(again) == pytest.approx(found(engine), abs=1e-4)
    assert again.add([{"item_id": "other"}]) == 1
    assert again.item("other").title == "A wedding"  # type: ignore[union-attr]


def test_a_change_without_effect_is_not_logged(model_folder: Path, log: ChangeLog) -> None:
    engine = load_engine(model_folder, "joint", log)
    engine.add([ROBOTS])
    engine.remove(["film-1"])
    version, size = engine.catalog_version, log.path.stat().st_size
    assert engine.add([ROBOTS, {"item_id": "film-2"}]) == 0
    assert engine.remove(["film-1"]) == 0
    assert (engine.catalog_version, log.path.stat().st_size) == (version, size)
    assert engine.add([ROBOTS, {"item_id": "film-1"}]) == 1
