"""Counted ranks against the answers of the retriever."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from twofold.evaluation.measures import MEASURES, Measure
from twofold.model.checkpoint import GenerativeModel, NotFiniteError
from twofold.records import Task
from twofold.retrieval import top_k
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.retrieval.top_k import RankCounter
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.requests import JudgedRequests


def _answered(model: GenerativeModel, judged: JudgedRequests, measure: Measure) -> list[float]:
    """The measure of the retriever's answers."""
    run = GenerativeRetriever(model).retrieve(judged.requests, measure.k)
    ids = [request.request_id for request in judged.requests]
    return [measure.of(run[own].item_ids, judged.qrels[own]) for own in ids]


@pytest.mark.parametrize("task", ["search", "recommendation"])
@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_counted_ranks_equal_the_answers_of_the_retriever(
    catalog: PreparedDataset, retriever: GenerativeRetriever, task: Task, measure: Measure
) -> None:
    judged = catalog.task(task).requests("validation")
    counter = RankCounter(retriever.model, judged.requests, judged.qrels, measure)
    expected = _answered(retriever.model, judged, measure)
    assert any(expected)
    assert counter.values().tolist() == expected
    assert counter.values().tolist() == expected, "nothing is used up"


@pytest.mark.parametrize("task", ["search", "recommendation"])
def test_a_large_catalog_is_scored_a_few_requests_at_a_time(
    catalog: PreparedDataset,
    retriever: GenerativeRetriever,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No more scores than the limit are ever held, those of the hybrid part included."""
    items, judged = len(catalog.catalog), catalog.task(task).requests("validation")
    expected = _answered(retriever.model, judged, Measure("nDCG", 10))
    monkeypatch.setattr(top_k, "BATCH_SCORES", 3 * items + 1)
    monkeypatch.setattr(top_k, "_KEPT_MATCHES", 3 * items)
    counter = RankCounter(retriever.model, judged.requests, judged.qrels, Measure("nDCG", 10))
    assert retriever.model.hybrid_part(task) is not None
    for batch in counter._batches:
        assert len(batch.rows) <= 3
        assert batch.batch is None
    compared = []
    ahead = RankCounter._ahead

    def seen(self: RankCounter, *arguments: torch.Tensor) -> torch.Tensor:
        compared.append(len(arguments[1]))
        return ahead(self, *arguments)

    monkeypatch.setattr(RankCounter, "_ahead", seen)
    assert counter.values().tolist() == pytest.approx(expected)
    assert max(compared) == 3 if task == "search" else max(compared) <= 3


def test_they_equal_them_where_all_scores_are_equal_and_most_items_are_excluded(
    catalog: PreparedDataset, model_folder: Path
) -> None:
    """Ties go by item_id, and an answer may hold fewer than k items."""
    model = load_model(model_folder).model
    with torch.no_grad():
        model.backbone.code_tables()[0].zero_()
    model.backbone.repack(model.vocabulary.spaces.codebooks)
    requests, qrels, item_ids = [], {}, catalog.catalog.item_ids
    for number, request in enumerate(catalog.task("recommendation").requests("test").requests):
        target = item_ids[number % len(item_ids)]
        few = frozenset(item_ids[number % 7 :]) - ({target} if number % 3 else set())
        requests.append(replace(request, exclude=few if number % 2 else request.exclude))
        qrels[request.request_id] = {target: 1, item_ids[-1]: 2, item_ids[0]: 0}
    judged = JudgedRequests("recommendation", "test", requests, qrels)
    for measure in MEASURES:
        expected = _answered(model, judged, measure)
        assert any(expected)
        assert RankCounter(model, requests, qrels, measure).values().tolist() == expected


def test_a_diverged_model_is_an_error(catalog: PreparedDataset, model_folder: Path) -> None:
    model = load_model(model_folder).model
    judged = catalog.task("search").requests("validation")
    counter = RankCounter(model, judged.requests, judged.qrels, Measure("nDCG", 10))
    with torch.no_grad():
        model.backbone.model.get_input_embeddings().weight.fill_(torch.nan)
    with pytest.raises(NotFiniteError):
        counter.values()
