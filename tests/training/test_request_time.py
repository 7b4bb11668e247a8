"""The time since the last event as an input: what is learned from it, and that nothing leaks."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.commands import mistake, run_here
from tests.serving.client import ids, served
from twofold.baselines.popularity import Popularity
from twofold.data.formats import Table
from twofold.data.validation import validate
from twofold.model.encoded import TIME_BUCKETS, UNKNOWN_TIME, time_buckets
from twofold.model.export import require_exportable
from twofold.records import InputError, Request, Run
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.retrieval.scoring import Context, score_items
from twofold.serving.app import create_app
from twofold.serving.engines.catalog_engine import load_engine
from twofold.tasks.evaluate import evaluate
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_dataset
from twofold.testing import RetrieverContract
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.train import train

pytestmark = pytest.mark.anyio

ITEMS, START = 20, 1_600_000_000
SOON, LATE = 60, 30 * 86_400


def _walks(users: int = 120, events: int = 14) -> list[tuple[str, str, int]]:
    """The next item is the neighbour within minutes, and the opposite one a month later."""
    rng, rows = np.random.default_rng(3), []
    for user in range(users):
        item, time = int(rng.integers(ITEMS)), START
        for _ in range(events):
            rows.append((f"u{user}", f"i{item}", time))
            late = bool(rng.integers(2))
            item = (item + (ITEMS // 2 if late else 1)) % ITEMS
            time += LATE if late else SOON
    return rows


def _dataset(rows: Sequence[tuple[str, str, float]]) -> PreparedDataset:
    frames = {
        "items": pl.DataFrame({"item_id": [f"i{n}" for n in range(ITEMS)], "title": ""}),
        "interactions": pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row"),
    }
    frames = {name: frame.cast(pl.String) for name, frame in frames.items()}
    tables = {name: [Table(Path(f"{name}.csv"), rows)] for name, rows in frames.items()}
    return split_dataset(validate(tables), "walks")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def walks() -> PreparedDataset:
    return _dataset(_walks())


def _config(**changed: object) -> TrainingConfig:
    small = {"backbone": "decoder:tiny", "max_steps": 250, "learning_rate": 5e-3, "dropout": 0.0}
    more = {"item_init": "random", "text_encoder": "none", "precision": "float32"}
    return resolve_config("quick", **(small | more | changed))  # type: ignore[arg-type]


def _trained(data: PreparedDataset, out: Path, **changed: object) -> GenerativeRetriever:
    config = _config(**changed)
    return train(data, "recommendation", out=out, config=config, device="cpu", threads=1)


@pytest.fixture(scope="module")
def timed_folder(walks: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("timed") / "model"
    _trained(walks, out, request_time=True)
    return out


@pytest.fixture(scope="module")
def timed(timed_folder: Path) -> GenerativeRetriever:
    return load_model(timed_folder)


@pytest.fixture(scope="module")
def semantic(
    walks: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> GenerativeRetriever:
    out = tmp_path_factory.mktemp("semantic") / "model"
    changed = {"identifiers": "semantic", "levels": 2, "codebook_size": 6}
    return _trained(walks, out, request_time=True, **changed)


def _first_ranks(model: GenerativeRetriever, data: PreparedDataset) -> float:
    return evaluate(model, data, ["recommendation"]).means()["recommendation"]["RR@10"]


def test_what_the_time_decides_is_learned_with_it_alone(
    walks: PreparedDataset,
    timed: GenerativeRetriever,
    semantic: GenerativeRetriever,
    tmp_path: Path,
) -> None:
    assert _first_ranks(_trained(walks, tmp_path / "model"), walks) < 0.8
    assert _first_ranks(timed, walks) > 0.9
    assert _first_ranks(semantic, walks) > 0.9


def test_the_hour_of_the_request_decides_the_answer(timed: GenerativeRetriever) -> None:
    for gap, item in ((SOON, "i4"), (LATE, "i13")):
        asked = timed.recommend(["i1", "i2", "i3"], 1, time=START + gap, last_event_time=START)
        assert asked[0].item_id == item
    without = timed.recommend(["i1", "i2", "i3"], 2)
    assert {answer.item_id for answer in without} == {"i4", "i13"}


@pytest.mark.parametrize("backbone", ["t5:tiny", "sasrec:tiny"])
def test_other_backbones_read_it_too(walks: PreparedDataset, tmp_path: Path, backbone: str) -> None:
    model = _trained(walks, tmp_path / "model", backbone=backbone, request_time=True, max_steps=3)
    assert _changes_answers(model)


def _changes_answers(model: GenerativeRetriever) -> bool:
    with torch.no_grad():
        assert model.model.backbone.time_embedding is not None
        model.model.backbone.time_embedding.weight[1:].normal_()
    some = [
        Request(str(gap), history=("i1",), time=START + gap, last_event_time=START)
        for gap in (SOON, LATE)
    ]
    run = model.retrieve(some, ITEMS)
    return run[str(SOON)].scores != run[str(LATE)].scores


def test_later_times_change_nothing_of_earlier_targets(timed: GenerativeRetriever) -> None:
    rows = [row for row in _walks() if row[0] == "u0"]
    moved = [(u, i, t + (9 * LATE if place > 7 else 0)) for place, (u, i, t) in enumerate(rows)]
    states = []
    for own in (rows, moved):
        examples = _dataset(own).task("recommendation").source(timed=True).columns
        encoded = timed.model.vocabulary.encode_all(examples).take(np.arange(1))
        with torch.inference_mode():
            states.append(timed.model.backbone.states(timed.model.vocabulary.collate(encoded)))
    assert len(states[0]) == 11
    assert states[0][:7].equal(states[1][:7])  # the target at place 8 comes 9 months later
    assert not states[0][7].equal(states[1][7])


def test_every_target_has_its_own_time_in_windows_and_contexts(walks: PreparedDataset) -> None:
    source = walks.task("recommendation").source(timed=True)
    whole = source.columns.flat_since().tolist()
    assert set(whole) == {SOON, LATE}
    assert source.by_context().columns.flat_since().tolist() == whole
    windows = source.windows(4).columns
    assert len(windows) > len(source.columns)
    for kept in (windows, source.truncate(4).columns):
        for example in kept:
            assert example.since is not None
            for since, seen, target in zip(
                example.since, example.visible, example.targets, strict=True
            ):
                step = (target - example.history[seen - 1]) % ITEMS
                assert step == (ITEMS // 2 if since == LATE else 1)


def test_without_a_time_the_states_are_those_of_the_backbone(timed: GenerativeRetriever) -> None:
    model = timed.model
    batch = model.batch_of([model.vocabulary.encode_request(np.array([1, 2]), None)])
    with torch.inference_mode():
        assert model.backbone.states(batch).equal(model.backbone.read(batch))


def test_beams_score_as_the_model_does(semantic: GenerativeRetriever) -> None:
    request = Request("r", history=("i1", "i2"), time=START + LATE, last_event_time=START)
    ranking = semantic.retrieve([request], 5)["r"]
    catalog = semantic.model.catalog
    items = np.array([catalog.positions[item] for item in ranking.item_ids])
    history = np.array([catalog.positions[item] for item in request.history])
    context = Context(history, None, request.since_last_event)
    scores = score_items(semantic.model, [context], items)[0]
    assert scores == pytest.approx(ranking.scores, abs=1e-4)


def test_a_saved_model_answers_the_same(walks: PreparedDataset, tmp_path: Path) -> None:
    trained = _trained(walks, tmp_path / "model", request_time=True, max_steps=20)
    loaded = load_model(tmp_path / "model")
    asked = walks.task("recommendation").requests("test", timed=True).requests
    for request in asked[:5]:
        ours, theirs = (model.retrieve([request], 3) for model in (trained, loaded))
        mine, its = ours[request.request_id], theirs[request.request_id]
        assert mine.item_ids == its.item_ids
        assert mine.scores == pytest.approx(its.scores, abs=1e-5)


def test_only_models_that_read_it_are_told_the_time(
    walks: PreparedDataset, timed: GenerativeRetriever
) -> None:
    seen: list[Request] = []

    class Told(Popularity):
        def retrieve(self, requests: Sequence[Request], k: int) -> Run:
            seen.extend(requests)
            return super().retrieve(requests, k)

    evaluate(Told(walks, "recommendation"), walks, ["recommendation"])
    assert {request.time for request in seen} == {None}
    told = Told(walks, "recommendation")
    told.reads_time = timed.reads_time  # type: ignore[attr-defined]
    seen.clear()
    evaluate(told, walks, ["recommendation"])
    for request in seen:
        assert request.since_last_event in (SOON, LATE)
        right = walks.task("recommendation").requests("test").qrels[request.request_id]
        step = (int(next(iter(right))[1:]) - int(request.history[-1][1:])) % ITEMS
        assert step == (ITEMS // 2 if request.since_last_event == LATE else 1)


def test_the_stamp_says_that_the_time_was_told(timed: GenerativeRetriever) -> None:
    assert timed.model.stamp.request_time


def test_buckets_double() -> None:
    seconds = np.array([np.nan, 0, 0.9, 1, 1.9, 2, 3.9, 4, 3600, 1e12])
    assert time_buckets(seconds).tolist() == [
        UNKNOWN_TIME,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        13,
        TIME_BUCKETS - 1,
    ]


def test_positions_are_no_times(tmp_path: Path) -> None:
    rows = [(user, item, (time - START) % 50) for user, item, time in _walks(users=6)]
    with pytest.raises(InputError, match="walks have no times, only their order; give them"):
        _trained(_dataset(rows), tmp_path / "model", request_time=True)


@pytest.mark.parametrize(
    ("time", "last", "message"),
    [
        (START, None, "^time: the model reads how long after the last event"),
        (None, START, "^last_event_time: the model reads how long"),
        (14, 13, "^time 14: is no time in seconds since 1970, but a position"),
        (START * 1000, START, "is no time in seconds since 1970"),
        ("2020", START, "^time is '2020'; give seconds since 1970 as a number"),
        (True, START, "^time is True; give seconds"),
        (float("nan"), START, "is no time in seconds since 1970"),
        (START, START + 1, "^time 1600000000: lies before last_event_time 1600000001"),
    ],
)
def test_times_that_say_nothing_are_refused(
    timed: GenerativeRetriever, time: float | None, last: float | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        timed.recommend(["i1"], time=time, last_event_time=last)


def test_a_model_that_reads_no_time_refuses_one(retriever: GenerativeRetriever) -> None:
    with pytest.raises(InputError, match="does not read the time of a request: leave time and"):
        retriever.recommend(["film-1"], time=START, last_event_time=START)


def test_it_cannot_be_exported(semantic: GenerativeRetriever) -> None:
    with pytest.raises(InputError, match="reads the time of a request"):
        require_exportable(semantic.model, "semantic")


async def test_the_api_takes_the_times(timed_folder: Path) -> None:
    app = create_app({"timed": load_engine(timed_folder, "timed")})
    asked = {"history": ["i1", "i2", "i3"], "time": START + LATE, "last_event_time": START}
    async with served(app) as client:
        assert (await client.get("/models")).json()["models"][0]["reads_time"] is True
        for route in ("/recommend", "/retrieve"):
            assert ids(await client.post(route, json=asked))[0] == "i13"
            soon = asked | {"time": START + SOON}
            assert ids(await client.post(route, json=soon))[0] == "i4"
        candidates = {"candidates": ["i4", "i13"]}
        assert ids(await client.post("/score", json=asked | candidates))[0] == "i13"
        scored = (await client.post("/explain", json=asked | {"item_id": "i13"})).json()["score"]
        found = (await client.post("/recommend", json=asked)).json()["items"][0]["score"]
        assert scored == pytest.approx(found, abs=1e-4)
        of_user = {"user_id": "u1", "time": START + LATE}
        refused = await client.post("/recommend", json=of_user)
        assert refused.status_code == 422
        assert "give both time and last_event_time" in refused.json()["detail"]
        refused = await client.post("/score", json=asked | candidates | {"time": 3})
        assert "time 3: is no time in seconds since 1970" in refused.json()["detail"]


async def test_the_api_refuses_times_that_are_not_read(model_folder: Path) -> None:
    app = create_app({"joint": load_engine(model_folder, "joint")})
    asked = {"history": ["film-1"], "time": START, "last_event_time": START}
    async with served(app) as client:
        refused = await client.post("/recommend", json=asked)
    assert refused.status_code == 422
    assert "model 'joint' does not read the time of a request" in refused.json()["detail"]


def test_the_command_takes_the_times(timed_folder: Path) -> None:
    asked = ("recommend", timed_folder, "--history", "i1,i2,i3", "-k", 1, "--json")
    for at, item in (("2020-09-13T12:27:40", "i4"), (START + LATE, "i13"), ("2020-10-13", "i13")):
        done = run_here(*asked, "--at", at, "--last-event", START)
        assert json.loads(done.stdout)[0]["item_id"] == item, done.stderr
    assert "--at 'noon': neither a number" in mistake(*asked, "--at", "noon")
    assert "give both time and last_event_time" in mistake(*asked, "--at", START)
    assert "time 7: is no time in seconds since 1970" in mistake(
        *asked, "--at", 7, "--last-event", 6
    )


class TestTimed(RetrieverContract):
    """A model that reads the time keeps the contract, with times and without."""

    @pytest.fixture(params=["timed", "semantic"])
    def retriever(self, request: pytest.FixtureRequest) -> GenerativeRetriever:
        retriever: GenerativeRetriever = request.getfixturevalue(request.param)
        return retriever

    @pytest.fixture
    def dataset(self, walks: PreparedDataset) -> PreparedDataset:
        return walks

    @pytest.fixture
    def requests(self) -> list[Request]:
        plain = Request("plain", history=("i1", "i2"))
        soon = replace(plain, request_id="soon", time=START + SOON, last_event_time=START)
        late = replace(plain, request_id="late", time=START + LATE, last_event_time=START)
        return [plain, soon, late, replace(late, request_id="but", exclude=frozenset({"i12"}))]
