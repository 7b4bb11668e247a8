"""A model and its living catalog: items are added and removed, and changes survive a restart."""

import re
import shutil
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from twofold.additions.log import FILE, CatalogChange, ChangeLog, decode_arrays, encode_arrays
from twofold.additions.placement import ItemPlacer
from twofold.encoders.lexical import LexicalIndex, TrainingQueries
from twofold.encoders.sentence import SentenceEncoder
from twofold.model.checkpoint import save_model
from twofold.model.hybrid import Hybrid, build_hybrid
from twofold.records import InputError, Request
from twofold.retrieval import attributes, generative, scoring
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.retrieval.scoring import score_items
from twofold.serving.engines import catalog_engine
from twofold.serving.engines.catalog_engine import CatalogEngine, load_engine
from twofold.serving.engines.engine import TopK
from twofold.serving.engines.reload import warm_up
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import TrainingConfig
from twofold.training.train import train

ROBOTS = {"item_id": "new", "title": "Robots in love", "genre": "Comedy"}
ASKED = Request("r", query="robots")
LIKED = Request("r", history=("film-1", "film-2"))


@pytest.fixture(scope="session")
def hybrid_folder(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    sentence_encoder: SentenceEncoder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A hybrid part of words and sentences, whether or not validation would keep it."""
    out = tmp_path_factory.mktemp("hybrid")
    config = quick_config.model_copy(update={"text_encoder": f"tfidf+{sentence_encoder.name}"})
    model = train(catalog, "joint", out=out / "as-trained", config=config, device="cpu").model
    part = build_hybrid(catalog, model.vocabulary.encoder)
    assert part is not None
    assert part.sentence is not None
    save_model(replace(model, hybrid=part), out / "joint", {})
    return out / "joint"


@pytest.fixture(params=["model", "semantic", "hybrid"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(f"{request.param}_folder")
    return found


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ChangeLog]:
    made = ChangeLog(tmp_path / "state")
    yield made
    made.close()


def _ids(engine: CatalogEngine, request: Request, k: int = 60) -> list[str]:
    (found,) = engine.answer([TopK(request, k)])
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


@pytest.mark.parametrize(("task", "other"), [(ASKED, LIKED), (LIKED, ASKED)])
def test_a_model_of_one_task_refuses_the_other(
    model_folder: Path, task: Request, other: Request
) -> None:
    model = load_model(model_folder).model
    learned = model.vocabulary.task(task.query)
    single = GenerativeRetriever(replace(model, tasks=(learned,)), "single")
    engine = CatalogEngine(single, "1")
    warm_up(engine)
    engine.check(task)
    assert engine.score(task, ["film-1"])
    assert engine.explain(task, "film-1")
    for ask in (
        engine.check,
        lambda request: engine.score(request, ["film-1"]),
        lambda request: engine.explain(request, "film-1"),
    ):
        with pytest.raises(
            InputError, match=f"model 'single' was trained for {learned} alone; for"
        ):
            ask(other)


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
    scores = {found.item_id: found.score for found in engine.score(ASKED, before)}
    assert engine.add([ROBOTS]) == 1
    after = _ids(engine, ASKED, 61)
    others = [i for i in after if i != "new"]
    # A semantic ID takes its share of those that begin alike, who then may change places.
    assert (
        sorted(others) == sorted(before)
        if folder.parent.name.startswith("semantic")
        else others == before
    )
    assert all(f.score <= scores[f.item_id] + 1e-4 for f in engine.score(ASKED, before))
    assert engine.items == 61
    assert engine.item("new").title == "Robots in love"  # type: ignore[union-attr]
    assert len(_ids(engine, Request("r", history=("new",), exclude=frozenset(["new"])))) == 60
    engine.remove(["new"])
    assert _ids(engine, ASKED, 61) == others


def test_a_new_item_is_found_by_a_number_that_no_item_had(
    model_folder: Path, log: ChangeLog
) -> None:
    model = load_model(model_folder).model
    lexical = LexicalIndex.fit(model.catalog.texts, [])
    known = TrainingQueries.of([], [], len(model.catalog))
    with_index = replace(model, hybrid=Hybrid(20.0, lexical, known))
    engine = CatalogEngine(GenerativeRetriever(with_index, "joint"), "m1", log)
    asked = Request("r", query="XR-777")
    assert not engine.has_known_word(asked)
    engine.add([{**ROBOTS, "title": "Robots in love, XR-777"}])
    assert _ids(engine, asked)[0] == "new"
    assert engine.has_known_word(asked)


def test_changes_survive_a_restart(folder: Path, tmp_path: Path) -> None:
    engine = load_engine(folder, "joint", tmp_path / "state")
    engine.add([ROBOTS, {"item_id": "other", "title": "A wedding"}])
    engine.remove(["film-1", "other"])
    answers, version = _ids(engine, ASKED, 61), engine.catalog_version
    with pytest.raises(InputError, match="in use by a running server or by another command"):
        ChangeLog(tmp_path / "state")
    engine.close()
    again = load_engine(folder, "joint", tmp_path / "state")
    assert (_ids(again, ASKED, 61), again.catalog_version) == (answers, version)
    assert again.add([{**ROBOTS, "item_id": "later"}]) == 1
    assert "later" in _ids(again, ASKED, 62)
    again.close()


def test_an_item_without_a_place_is_refused_and_not_logged(folder: Path, log: ChangeLog) -> None:
    engine = load_engine(folder, "joint", log)
    with pytest.raises(InputError, match="attribute 'colour' is not in the catalog"):
        engine.add([{**ROBOTS, "colour": "red"}])
    with pytest.raises(InputError, match="attribute 'colour' is not in the catalog"):
        engine.add([{"item_id": "film-1", "colour": "red"}])
    with pytest.raises(InputError, match="item 'ghost' is not in the catalog"):
        engine.remove(["ghost"])
    assert log.changes == []
    with pytest.raises(InputError, match="give --state"):
        load_engine(folder, "joint").add([ROBOTS])


def test_an_item_must_be_given_as_the_catalog_holds_it(model_folder: Path, log: ChangeLog) -> None:
    engine = load_engine(model_folder, "joint", log)
    engine.add([ROBOTS])
    engine.remove(["new"])
    film, before = engine.item("film-1"), engine.catalog_version
    assert film is not None
    for item_id, name, held, other in (
        ("new", "title", "'Robots in love'", "Robots at war"),
        ("new", "genre", "'Comedy'", "Drama"),
        ("new", "text", "empty", "A film about robots."),
        ("film-1", "title", f"'{film.title}'", "Robots at war"),
    ):
        says = f"item '{item_id}': its {name} is {held}, not '{other}'; give it a new"
        with pytest.raises(InputError, match=re.escape(says)):
            engine.add([{"item_id": item_id, name: other}])
    assert engine.catalog_version == before
    assert engine.add([{**ROBOTS, "text": ""}]) == 1  # empty is not given
    assert engine.item("new").title == "Robots in love"  # type: ignore[union-attr]


def test_an_item_cannot_be_given_in_two_versions(model_folder: Path, log: ChangeLog) -> None:
    engine = load_engine(model_folder, "joint", log)
    with pytest.raises(InputError, match="its title is 'Robots in love', not 'Other'"):
        engine.add([ROBOTS, {**ROBOTS, "title": "Other"}])
    assert engine.add([ROBOTS, ROBOTS]) == 1


def test_scores_are_those_that_retrieval_ranks_by(folder: Path) -> None:
    engine = load_engine(folder, "joint")
    for request in (ASKED, Request("r", query="love", history=("film-3", "film-9"))):
        (found,) = engine.answer([TopK(request, 60)])
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


@pytest.mark.parametrize("written", ["Café Noir", "Cafe\u0301 Noir"])
def test_titles_are_found_in_any_form_of_unicode(
    model_folder: Path, tmp_path: Path, written: str
) -> None:
    engine = load_engine(model_folder, "joint", state=tmp_path / "state")
    engine.add([{**ROBOTS, "title": written}])
    for asked in ("café", "cafe\u0301", "CAFÉ", "ｃａｆé", "cafe"):
        assert [item.item_id for item in engine.find_titles(asked, 5)] == ["new"]
    engine.close()


def test_the_best_of_the_retrieved_items_are_described(folder: Path) -> None:
    engine = load_engine(folder, "joint")
    (some,), (all_of,) = engine.answer([TopK(ASKED, 50, 7)]), engine.answer([TopK(ASKED, 50)])
    assert some == all_of[:7]


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
    with pytest.raises(InputError, match="line 2: corrupt"):
        ChangeLog(tmp_path / "state")


def test_a_line_that_a_crash_cut_short_is_removed(tmp_path: Path, model_folder: Path) -> None:
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


def test_a_loaded_model_does_not_need_its_files(
    folder: Path, tmp_path: Path, log: ChangeLog
) -> None:
    copied = tmp_path / "model"
    shutil.copytree(folder, copied)
    engine = load_engine(copied, "joint", log)
    before = _ids(engine, ASKED)
    for path in (path for path in copied.rglob("*") if path.is_file()):
        path.write_bytes(b"")  # in place, as cp -r does: a mapped file would end the process
    assert str(copied) not in Path("/proc/self/maps").read_text()
    assert _ids(engine, ASKED) == before
    assert engine.add([ROBOTS]) == 1


def test_many_changes_are_replayed_as_they_were_made(folder: Path, log: ChangeLog) -> None:
    engine = load_engine(folder, "joint", log)
    for number in range(6):
        engine.add([{"item_id": f"new-{number}", "title": ("Robots", "A wedding")[number % 2]}])
    engine.remove(["new-1", "film-2"])
    engine.add([{"item_id": "new-1"}, {"item_id": "film-2"}])
    engine.remove(["new-4"])
    asked = Request("r", query="robots", history=("new-0", "film-2"))
    again = load_engine(folder, "joint", log)
    (before,), (after,) = engine.answer([TopK(asked, 100)]), again.answer([TopK(asked, 100)])
    assert [(f.item_id, f.title) for f in after] == [(f.item_id, f.title) for f in before]
    assert [f.score for f in after] == pytest.approx([f.score for f in before], abs=1e-4)
    assert again.item("new-1").title == "A wedding"  # type: ignore[union-attr]
    assert (again.catalog_version, again.items) == (engine.catalog_version, engine.items)


def test_an_incomplete_placement_is_computed_again(hybrid_folder: Path, log: ChangeLog) -> None:
    engine = load_engine(hybrid_folder, "joint", log)
    (placed,) = engine.place([ROBOTS]).values()
    rows = {
        name: array for name, array in decode_arrays(placed).items() if name.startswith("rows-")
    }
    log.append(CatalogChange("add", [ROBOTS], {engine.model_version: encode_arrays(rows)}))
    again = load_engine(hybrid_folder, "joint", log)
    engine.add([ROBOTS])  # catches up with the line before as well
    (before,), (after,) = engine.answer([TopK(ASKED, 61)]), again.answer([TopK(ASKED, 61)])
    assert "new" in [found.item_id for found in after]
    assert [f.score for f in after] == pytest.approx([f.score for f in before], abs=1e-4)


def test_what_adding_needs_is_computed_once(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_engine(model_folder, "joint")
    worked_out: list[ItemPlacer] = []
    work_out = ItemPlacer.of

    def slow(model: Any) -> ItemPlacer:
        time.sleep(0.1)
        worked_out.append(work_out(model))
        return worked_out[-1]

    monkeypatch.setattr(ItemPlacer, "of", slow)
    threads = [threading.Thread(target=engine.prepare) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worked_out) == 1


def test_another_model_takes_the_changes_over(
    model_folder: Path, semantic_folder: Path, log: ChangeLog
) -> None:
    engine = load_engine(model_folder, "joint", log)
    engine.add([ROBOTS])
    engine.remove(["film-1"])
    later = load_engine(semantic_folder, "joint", log)
    later.add([{**ROBOTS, "item_id": "later"}])  # placed by this model alone
    engine.catch_up()
    for each in (engine, later, load_engine(model_folder, "joint", log)):
        found = _ids(each, ASKED, 100)
        assert {"new", "later"} <= set(found)
        assert "film-1" not in found


@pytest.mark.parametrize("first", ["model", "semantic", "hybrid"])
@pytest.mark.parametrize("second", ["model", "semantic", "hybrid"])
def test_models_in_turn_add_items_that_are_alike(
    request: pytest.FixtureRequest, tmp_path: Path, first: str, second: str
) -> None:
    """Each of them would get the identifier that the one before got."""
    folders = [request.getfixturevalue(f"{name}_folder") for name in (first, second)]
    new = [f"new-{number}" for number in range(4)]
    for number, item_id in enumerate(new):
        engine = load_engine(folders[number % 2], "joint", tmp_path / "state")
        engine.add([{**ROBOTS, "item_id": item_id}])
        engine.close()
    for folder in folders:
        engine = load_engine(folder, "joint", tmp_path / "state")
        (found,) = engine.answer([TopK(ASKED, 100)])
        assert len(found) == engine.items == 64
        assert {item.item_id for item in found} >= set(new)
        scored = engine.score(ASKED, [item.item_id for item in found])
        assert [s.score for s in scored] == pytest.approx([f.score for f in found], abs=1e-4)
        engine.close()


def test_an_identifier_that_was_taken_meanwhile_is_not_taken_twice(
    folder: Path, log: ChangeLog
) -> None:
    engine = load_engine(folder, "joint", log)
    late = engine.place([ROBOTS])
    engine.add([{**ROBOTS, "item_id": "first"}])
    assert engine.add([ROBOTS], late) == 1
    for each in (engine, load_engine(folder, "joint", log)):
        assert {"first", "new"} <= set(_ids(each, ASKED, 62))


def test_a_model_whose_folder_changes_while_it_is_read_is_refused(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "model"
    shutil.copytree(model_folder, copied)

    def slow(*arguments: Any) -> Any:
        found = load_model(*arguments)
        manifest = copied / "manifest.json"
        manifest.write_text(manifest.read_text() + " ")
        return found

    monkeypatch.setattr(catalog_engine, "load_model", slow)
    with pytest.raises(InputError, match="was changed while it was read"):
        load_engine(copied, "joint")


def test_requests_of_users_do_not_fill_the_memory(
    semantic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_engine(semantic_folder, "joint")
    monkeypatch.setattr(attributes, "_CACHED_BYTES", 100_000)
    monkeypatch.setattr(generative, "_CACHED_BYTES", 10_000)

    def ask(number: int) -> None:
        where = (("genre", frozenset([f"made up {number}", "x" * (number % 2 * 50_000)])),)
        engine.answer([TopK(Request("r", query="robots", where=where), 50)])

    ask(0)
    tracemalloc.start()
    for number in range(300):
        ask(number)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 600_000  # 300 long filters alone would be 15 MB


def test_an_explanation_of_many_words_scores_few_requests_at_a_time(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_engine(model_folder, "joint")
    together: list[int] = []

    def counted(model: Any, contexts: Any, items: Any) -> Any:
        together.append(len(contexts))
        return score_items(model, contexts, items)

    monkeypatch.setattr(scoring, "score_items", counted)
    words = Request("r", query="robots " * 280, history=("film-1", "film-2") * 100)
    _, parts = engine.explain(words, "film-3")
    assert len(parts) <= 100
    assert max(together) <= 32


def test_counts_under_a_filter_follow_additions_and_removals(
    semantic_folder: Path, log: ChangeLog
) -> None:
    engine = load_engine(semantic_folder, "joint", log)
    genre = engine.find_titles("", 1)[0].attributes["genre"].split("|")[0]
    where = (("genre", frozenset([genre])),)
    asked = Request("r", query="robots", where=where)
    before = _ids(engine, asked, 100)
    engine.remove(before[:2])
    assert _ids(engine, asked, 100) == before[2:]
    engine.add([{"item_id": before[0]}])
    assert _ids(engine, asked, 100) == [before[0], *before[2:]]


def test_a_query_without_a_word_is_refused_unless_there_is_a_history(model_folder: Path) -> None:
    engine = load_engine(model_folder, "joint")
    for query in ("!!!", "🤖", "\u200b"):
        with pytest.raises(InputError, match="has no word to search for"):
            engine.check(Request("r", query=query))
        with_history = Request("r", query=query, history=("film-1",))
        engine.check(with_history)
        assert not engine.has_known_word(with_history)
    assert engine.has_known_word(Request("r", query="dark zzzz"))
    assert engine.has_known_word(Request("r", history=("film-1",)))
