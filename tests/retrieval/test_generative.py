"""A trained model as a retriever, with atomic identifiers; see test_generative_semantic too."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.fixtures.requests import made_requests
from twofold.model import encoded
from twofold.records import TASKS, InputError, Request, Task
from twofold.retrieval.generative import GenerativeRetriever, load_model


def test_scores_are_log_probabilities_over_the_whole_catalog(
    retriever: GenerativeRetriever,
) -> None:
    ranking = retriever.retrieve([Request("r", query="wedding")], 60)["r"]
    assert np.exp(ranking.scores).sum() == pytest.approx(1.0, abs=1e-5)


def test_brute_force_over_the_catalog_agrees(retriever: GenerativeRetriever) -> None:
    model = replace(retriever.model, hybrid=None)
    retriever = GenerativeRetriever(model)
    history = np.array([model.catalog.positions[i] for i in ("film-3", "film-9")])
    with torch.inference_mode():
        batch = model.vocabulary.collate([model.vocabulary.encode_request(history, "robots")])
        scores = torch.log_softmax(
            model.backbone.states(batch) @ model.backbone.output_embeddings().T, 1
        )
    request = Request("r", query="robots", history=("film-3", "film-9"))
    ranking = retriever.retrieve([request], 60)["r"]
    expected = dict(zip(model.catalog.item_ids, scores[0].tolist(), strict=True))
    assert dict(zip(ranking.item_ids, ranking.scores, strict=True)) == pytest.approx(
        expected, rel=1e-4
    )
    assert list(ranking.item_ids) == sorted(expected, key=lambda i: (expected[i], i), reverse=True)


@pytest.mark.parametrize("folder", ["model_folder", "semantic_folder"])
def test_shards_answered_apart_have_the_bits_of_all_together(
    folder: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded, "_BATCH_TOKENS", 40)
    retriever = load_model(request.getfixturevalue(folder))
    asked = made_requests(retriever, 40)
    whole = retriever.retrieve(asked, 10)
    for size in (1, 9):
        shards = list(retriever.shards(asked, 10, size))
        assert len(shards) > 2
        assert all(len(shard) >= size for shard in shards[:-1])
        apart = {
            request_id: ranking
            for shard in shards
            for request_id, ranking in retriever.retrieve(shard, 10).rankings.items()
        }
        assert apart == whole.rankings
    assert list(whole) == [each.request_id for each in asked]


def test_ranked_items_have_ranks_and_titles(retriever: GenerativeRetriever) -> None:
    answers = retriever.search("dark western film", k=5)
    assert [answer.rank for answer in answers] == [1, 2, 3, 4, 5]
    assert all(answer.title.startswith("The ") for answer in answers)


def test_recommendation_does_not_repeat_the_history(retriever: GenerativeRetriever) -> None:
    items = {answer.item_id for answer in retriever.recommend(["film-1", "film-2"], k=58)}
    assert len(items) == 58
    assert not items & {"film-1", "film-2"}


def test_items_of_the_history_are_kept_or_excluded_on_request(
    retriever: GenerativeRetriever,
) -> None:
    history, everything = ["film-1", "film-2"], len(retriever.model.catalog)
    kept = retriever.recommend(history, everything, seen="keep")
    assert len(kept) == everything
    others = [answer.item_id for answer in kept if answer.item_id not in history]
    excluded = retriever.recommend(history, everything, seen="exclude")
    assert [answer.item_id for answer in excluded] == others, "in the same order"
    assert retriever.recommend(history, everything) == excluded, "the dataset has no repeats"
    of_user = retriever.recommend_for_user("user-3", everything, seen="keep")
    assert len(of_user) == everything


def test_a_history_makes_search_personal(retriever: GenerativeRetriever) -> None:
    alone = retriever.search("film", k=60)
    personal = retriever.search("film", k=60, history=["film-1"])
    assert [a.score for a in alone] != [a.score for a in personal]


def test_an_answer_says_where_no_word_is_known(retriever: GenerativeRetriever) -> None:
    unknown = retriever.search("zzzz qqqq", k=5)
    assert unknown.no_known_words
    assert len(unknown) == 5
    assert retriever.search("zzzz", k=5, history=["film-1"]).no_known_words
    assert retriever.search("!!!", k=5, history=["film-1"]).no_known_words
    for query in ("film", "The zzzz", "FILM!"):
        assert not retriever.search(query, k=5).no_known_words


def test_a_pretrained_tokenizer_knows_every_text(retriever: GenerativeRetriever) -> None:
    vocabulary = replace(retriever.model.vocabulary, pad=0)
    model = replace(retriever.model, vocabulary=vocabulary)
    assert model.has_known_word("zzzz qqqq")
    assert not retriever.model.has_known_word("zzzz qqqq")
    pretrained = GenerativeRetriever(model, "pretrained")
    pretrained.require_word(Request("r", query="!!!"))
    with pytest.raises(InputError, match="has no word to search for"):
        pretrained.require_word(Request("r", query="\u200b"))
    assert not pretrained.has_known_word(Request("r", query="\u200b", history=("film-1",)))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copied_or_pickled_model_gives_the_same_answers(
    retriever: GenerativeRetriever, copied: Callable[[Any], Any]
) -> None:
    answer = retriever.search("opera", k=5)  # the first answer packs the weights
    assert copied(retriever).search("opera", k=5) == answer


def test_a_known_user_has_a_history(retriever: GenerativeRetriever) -> None:
    positions = retriever.model.histories["user-3"]
    item_ids = [retriever.model.catalog.item_ids[n] for n in positions]
    assert retriever.recommend_for_user("user-3", 5) == retriever.recommend(item_ids, 5)


def test_a_filter_leaves_the_items_that_have_one_of_the_values(
    retriever: GenerativeRetriever,
) -> None:
    items = retriever.model.catalog.items
    some = items.filter(pl.col("genre").is_in(["western", "comedy"]))["item_id"].to_list()
    every = retriever.search("dark", 60)
    filtered = retriever.search("dark", 60, filters={"genre": ["western", "comedy"]})
    assert [a.item_id for a in filtered] == [a.item_id for a in every if a.item_id in some]
    chosen = {"genre": "western"}
    recommended = retriever.recommend(["film-1"], 60, filters=chosen)
    assert recommended
    assert {items.filter(item_id=a.item_id)["genre"][0] for a in recommended} == {"western"}
    positions = retriever.model.histories["user-3"]
    history = [retriever.model.catalog.item_ids[n] for n in positions]
    for_user = retriever.recommend_for_user("user-3", 5, filters=chosen)
    assert for_user == retriever.recommend(history, 5, filters=chosen)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda r: r.search("x", filters={"gen": "a"}),
            "attribute 'gen' is not in the catalog; th",
        ),
        (lambda r: r.search("x", filters=["genre"]), r"filters is \['genre'\]; give such as"),
        (lambda r: r.search("x", filters={"year": 1969}), "filter 'year' is 1969; give a str, or"),
        (lambda r: r.recommend(["film-1"], filters={"genre": []}), r"filter 'genre' is \[\]; give"),
        (lambda r: r.search(" "), "the query is empty; type a word"),
        (lambda r: r.search("\u200b"), "the query '\u200b' has no word to search for; type one"),
        (lambda r: r.search("!!!"), "the query '!!!' has no word to search for; type one"),
        (lambda r: r.search("🤖"), "the query '🤖' has no word to search for; type one"),
        (lambda r: r.recommend(["film-1", "zz"]), "item 'zz' is not in the catalog of 60"),
        (lambda r: r.recommend([]), "the history is empty; give at least one item_id"),
        (lambda r: r.recommend(["film-1"], seen="no"), "seen is 'no'; give 'exclude' or 'keep'"),
        (lambda r: r.search("x", k=0), "k is 0; it must be at least 1"),
        (lambda r: r.recommend_for_user("nobody"), "user 'nobody' is not among the model's"),
        (lambda r: r.search(None), "the query None is not a str; give one"),
        (lambda r: r.search(5), "the query 5 is not a str"),
        (lambda r: r.search(b"dark"), "the query b'dark' is not a str"),
        (lambda r: r.search("dark \udcff"), "has an unpaired surrogate, or a byte"),
        (
            lambda r: r.search("dark", history="film-1"),
            "the history 'film-1' is a single str; give a",
        ),
        (lambda r: r.recommend("film-1"), "the history 'film-1' is a single str; give a list"),
        (lambda r: r.recommend({"film-1", "film-2"}), "is a set, which has no order; give a list"),
        (lambda r: r.recommend([1]), "the history has 1, which is not a str; give item ids"),
        (
            lambda r: r.recommend([["film-1"]]),
            r"the history has \['film-1'\], which is not a str",
        ),
        (lambda r: r.recommend(None), "the history is empty"),
        (lambda r: r.search("dark", k="3"), "k is '3'; it must be a whole number"),
        (lambda r: r.search("dark", k=2.5), "k is 2.5; it must be a whole number"),
        (lambda r: r.search("dark", k=True), "k is True; it must be a whole number"),
        (lambda r: r.retrieve("dark", 3), r"'d' is no request; give a list of twofold\.Request"),
        (
            lambda r: r.retrieve([Request("1", query="dark"), Request("1", query="film")], 3),
            "request_id '1' occurs twice; give each request its own",
        ),
        (lambda _: load_model(None), "NoneType is no model folder; give its path"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_named(retriever: GenerativeRetriever, call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(retriever)  # type: ignore[operator]


def test_a_history_may_be_any_iterable(retriever: GenerativeRetriever) -> None:
    ids = ["film-1", "film-2"]
    expected = retriever.recommend(ids, 3)
    series = pl.Series(ids)
    for history in (tuple(ids), iter(ids), np.array(ids), series, dict.fromkeys(ids)):
        assert retriever.recommend(history, np.int64(3)) == expected  # type: ignore[arg-type]
    assert retriever.search("dark", 3, iter(ids)) == retriever.search("dark", 3, ids)  # type: ignore[arg-type]


def test_more_than_there_is_gives_all(retriever: GenerativeRetriever) -> None:
    assert len(retriever.search("dark western film", k=10_000)) == 60
    assert len(retriever.recommend(["film-1"], k=10_000)) == 59, "all but those of the history"


@pytest.mark.parametrize("learned", TASKS)
def test_a_task_that_was_not_learned_is_refused(
    retriever: GenerativeRetriever, learned: Task
) -> None:
    single = GenerativeRetriever(replace(retriever.model, tasks=(learned,)), "single")
    asked: dict[Task, Callable[[], object]] = {
        "search": lambda: single.search("dark western film", history=["film-1"]),
        "recommendation": lambda: single.recommend(["film-1"]),
    }
    assert asked.pop(learned)()
    for task, ask in asked.items():
        with pytest.raises(
            InputError, match=f"'single' was trained for {learned} alone; for {task} choose"
        ):
            ask()
    with pytest.raises(InputError, match="trained for search alone"):
        GenerativeRetriever(
            replace(retriever.model, tasks=("search",)), "single"
        ).recommend_for_user("user-3")


def test_without_histories_users_are_unknown(model_folder: Path) -> None:
    model = replace(load_model(model_folder).model, histories={})
    retriever = GenerativeRetriever(model, "without histories")
    with pytest.raises(InputError, match="saved without histories; give the history itself"):
        retriever.recommend_for_user("user-3")
