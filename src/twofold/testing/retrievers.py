"""The contract of `twofold.records.Retriever`, as tests."""

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import pytest

from twofold.records import Ranking, Request, Retriever
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset

K = 10


class RetrieverContract:
    """A retriever ranks the full catalog, returns no excluded item, and follows the tie rule.

    Inherit from this class and implement `make`, or override the fixture `retriever` if your
    retriever needs other fixtures. The fixtures `dataset` and `requests` may be overridden too. A
    retriever may return no item for a request that it cannot read, such as a query if it reads only
    histories.
    """

    ranks_whole_catalog: ClassVar[bool] = True
    """False if the retriever returns only items that match a request, such as those that share a
    word."""

    def make(self, dataset: PreparedDataset) -> Retriever:
        """The retriever to test, fitted to `dataset`."""
        raise NotImplementedError(
            "implement make(self, dataset), or override the fixture retriever"
        )

    @pytest.fixture
    def dataset(self) -> PreparedDataset:
        """60 simulated films with both tasks."""
        return _films()

    @pytest.fixture
    def retriever(self, dataset: PreparedDataset) -> Retriever:
        return self.make(dataset)

    @pytest.fixture
    def requests(self, dataset: PreparedDataset) -> list[Request]:
        """One request of each kind, with and without an exclusion, and one with unknown words."""
        items = dataset.catalog.item_ids
        query = dataset.queries["text"][0] if dataset.queries.height else None
        return [
            Request("query", query=query),
            Request("history", history=tuple(items[1:3])),
            Request("both", query=query, history=(items[3],)),
            Request("excluding", query=query, history=(items[3],), exclude=frozenset(items[4:6])),
            Request("nonsense", query="zzzz qqqq"),
        ]

    def test_every_request_has_a_ranking_in_order(
        self, retriever: Retriever, requests: Sequence[Request]
    ) -> None:
        run = retriever.retrieve(requests, K)
        assert list(run) == [request.request_id for request in requests]
        assert any(len(run[request_id]) for request_id in run)
        for request_id in run:
            ranking = run[request_id]
            assert len(ranking) <= K
            assert len(set(ranking.item_ids)) == len(ranking.item_ids) == len(ranking.scores)
            pairs = list(zip(ranking.scores, ranking.item_ids, strict=True))
            assert pairs == sorted(pairs, reverse=True)

    def test_what_is_excluded_does_not_come_back_and_the_rest_keeps_its_order(
        self, retriever: Retriever, requests: Sequence[Request], dataset: PreparedDataset
    ) -> None:
        for request in requests:
            whole = _ranking(retriever, request, len(dataset.catalog))
            assert not request.exclude & set(whole.item_ids)
            exclude = request.exclude | set(whole.item_ids[:3])
            rest = _ranking(retriever, dataclasses.replace(request, exclude=exclude), K)
            assert rest.item_ids == whole.item_ids[3 : 3 + K]

    def test_an_answer_is_empty_or_ranks_the_whole_catalog(
        self, retriever: Retriever, requests: Sequence[Request], dataset: PreparedDataset
    ) -> None:
        catalog = set(dataset.catalog.item_ids)
        for request in requests:
            ranking = _ranking(retriever, request, len(catalog))
            assert set(ranking.item_ids) <= catalog
            if self.ranks_whole_catalog and len(ranking):
                assert set(ranking.item_ids) >= catalog - request.exclude

    def test_other_requests_do_not_change_an_answer(
        self, retriever: Retriever, requests: Sequence[Request]
    ) -> None:
        together = retriever.retrieve(requests, K)
        for request in requests:
            alone = _ranking(retriever, request, K)
            assert alone.item_ids == together[request.request_id].item_ids
            assert alone.scores == pytest.approx(together[request.request_id].scores, abs=1e-4)

    def test_no_requests_give_an_empty_run(self, retriever: Retriever) -> None:
        assert len(retriever.retrieve([], K)) == 0


@cache
def _films() -> PreparedDataset:
    return load_dataset("simulate:catalog:films=60,users=80,queries=120")


def _ranking(retriever: Retriever, request: Request, k: int) -> Ranking:
    return retriever.retrieve([request], k)[request.request_id]
