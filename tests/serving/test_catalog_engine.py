"""A model and its living catalog: what comes and goes, and what survives a restart."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from twofold.records import InputError, Request
from twofold.serving.catalog_engine import CatalogEngine, load_engine
from twofold.serving.changes import FILE, ChangeLog
from twofold.serving.engine import Asked
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train

ROBOTS = {"item_id": "new", "title": "Robots in love", "genre": "Comedy"}
ASKED = Request("r", query="robots")


@pytest.fixture(scope="session")
def semantic_folder(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("semantic") / "joint"
    config = quick_config.model_copy(update={"identifiers": "semantic", "codebook_size": 16})
    train(catalog, "joint", out=out, config=config, device="cpu")
    return out


@pytest.fixture(params=["atomic", "semantic"])
def folder(request: pytest.FixtureRequest, model_folder: Path, semantic_folder: Path) -> Path:
    return model_folder if request.param == "atomic" else semantic_folder


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ChangeLog]:
    made = ChangeLog(tmp_path / "state")
    yield made
    made.close()


def _ids(engine: CatalogEngine, request: Request, k: int = 60) -> list[str]:
    (found,) = engine.answer([Asked(request, k)])
    return [item.item_id for item in found]


def test_a_filter_keeps_the_order_of_what_passes_it(folder: Path) -> None:
    engine = load_engine(folder, "joint")
    everything = _ids(engine, ASKED)
    genre = engine.item(everything[0]).attributes["genre"]  # type: ignore[union-attr]
    one = genre.split("|")[0]
    filtered = _ids(engine, Request("r", query="robots", where=(("genre", frozenset([one])),)))
    having = [i for i in everything if one in engine.item(i).attributes["genre"].split("|")]  # type: ignore[union-attr]
    assert filtered == having
    assert 0 < len(filtered) < len(everything)


def test_an_unknown_attribute_is_named(folder: Path) -> None:
    engine = load_engine(folder, "joint")
    with pytest.raises(
        InputError, match="attribute 'colour' is not in the catalog; the catalog has year, genre"
    ):
        engine.check(Request("r", query="robots", where=(("colour", frozenset(["red"])),)))


def test_a_removed_item_never_comes_back_until_it_is_added_again(
    folder: Path, log: ChangeLog
) -> None:
    engine = load_engine(folder, "joint", log)
    before = _ids(engine, ASKED)
    assert engine.remove([before[0], before[3]]) == 2
    assert _ids(engine, ASKED) == [i for n, i in enumerate(before) if n not in (0, 3)]
    assert engine.item(before[0]) is None
    with pytest.raises(InputError, match="was removed"):
        engine.score(ASKED, [before[0]])
    again = load_engine(folder, "joint", log)
    assert _ids(again, ASKED) == _ids(engine, ASKED)
    assert again.catalog_version == engine.catalog_version
    assert engine.add([{"item_id": before[0]}]) == 1
    assert _ids(engine, ASKED) == [i for n, i in enumerate(before) if n != 3]


def test_a_new_item_is_found_by_its_text_and_leads_to_items(folder: Path, log: ChangeLog) -> None:
    engine = load_engine(folder, "joint", log)
    before = _ids(engine, ASKED)
    assert engine.add([ROBOTS]) == 1
    after = _ids(engine, ASKED, 61)
    assert [i for i in after if i != "new"] == before
    assert engine.items == 61
    assert engine.item("new").title == "Robots in love"  # type: ignore[union-attr]
    assert len(_ids(engine, Request("r", history=("new",), exclude=frozenset(["new"])))) == 60
    engine.remove(["new"])
    assert _ids(engine, ASKED, 61) == before


def test_changes_survive_a_restart(folder: Path, tmp_path: Path) -> None:
    engine = load_engine(folder, "joint", tmp_path / "state")
    engine.add([ROBOTS, {"item_id": "other", "title": "A wedding"}])
    engine.remove(["film-1", "other"])
    answers, version = _ids(engine, ASKED, 61), engine.catalog_version
    with pytest.raises(InputError, match="a running server holds it"):
        ChangeLog(tmp_path / "state")
    engine.close()
    again = load_engine(folder, "joint", tmp_path / "state")
    assert (_ids(again, ASKED, 61), again.catalog_version) == (answers, version)
    assert again.add([{**ROBOTS, "item_id": "later"}]) == 1
    assert "later" in _ids(again, ASKED, 62)
    again.close()


def test_what_cannot_be_placed_is_refused_and_not_written_down(
    folder: Path, log: ChangeLog
) -> None:
    engine = load_engine(folder, "joint", log)
    with pytest.raises(InputError, match="attribute 'colour' is not in the catalog"):
        engine.add([{**ROBOTS, "colour": "red"}])
    with pytest.raises(InputError, match="item 'ghost' is not in the catalog"):
        engine.remove(["ghost"])
    assert log.changes == []
    with pytest.raises(InputError, match="give --state"):
        load_engine(folder, "joint").add([ROBOTS])


def test_scores_are_those_that_retrieval_ranks_by(folder: Path) -> None:
    engine = load_engine(folder, "joint")
    for request in (ASKED, Request("r", query="love", history=("film-3", "film-9"))):
        (found,) = engine.answer([Asked(request, 60)])
        scored = engine.score(request, [item.item_id for item in reversed(found)])
        assert [item.item_id for item in scored] == [item.item_id for item in found]
        assert [s.score for s in scored] == pytest.approx([f.score for f in found], abs=1e-4)


def test_an_explanation_adds_up_to_what_leaving_a_part_out_costs(folder: Path) -> None:
    engine = load_engine(folder, "joint")
    whole = Request("r", query="robots love", history=("film-3", "film-9"))
    score, parts = engine.explain(whole, "film-5")
    assert {(kind, value) for kind, value, _ in parts} == {
        ("history", "film-3"),
        ("history", "film-9"),
        ("query", "robots"),
        ("query", "love"),
    }
    without = Request("r", query="robots", history=("film-3", "film-9"))
    expected = score - engine.score(without, ["film-5"])[0].score
    assert {value: s for _, value, s in parts}["love"] == pytest.approx(expected, abs=1e-4)


def test_titles_are_found_by_a_part_of_them(folder: Path, catalog: PreparedDataset) -> None:
    engine = load_engine(folder, "joint")
    title = catalog.catalog.title("film-7")
    assert "film-7" in [item.item_id for item in engine.find_titles(title[2:].upper(), 60)]
    assert engine.find_titles("no such title", 10) == []


@pytest.mark.parametrize("damage", ["flip", "drop", "swap"])
def test_a_damaged_log_is_refused(tmp_path: Path, model_folder: Path, damage: str) -> None:
    engine = load_engine(model_folder, "joint", tmp_path / "state")
    for number in range(1, 4):
        engine.remove([f"film-{number}"])
    engine.close()
    path = tmp_path / "state" / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "flip":
        lines[1] = lines[1].replace(b"film-2", b"film-9")
    elif damage == "drop":
        del lines[1]
    else:
        lines[1:] = lines[:0:-1]
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match="line 2: damaged"):
        ChangeLog(tmp_path / "state")


def test_a_line_that_a_crash_cut_short_is_taken_off(tmp_path: Path, model_folder: Path) -> None:
    engine = load_engine(model_folder, "joint", tmp_path / "state")
    engine.remove(["film-1"])
    engine.close()
    path = tmp_path / "state" / FILE
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    shutil.copy(path, tmp_path / "seen")
    log = ChangeLog(tmp_path / "state")
    assert len(log.changes) == 1
    assert path.read_bytes() == whole
    log.close()
