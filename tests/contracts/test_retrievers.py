"""Every retriever keeps the contract of `twofold.testing`."""

from collections.abc import Callable

import pytest

from twofold.baselines.bm25 import BM25, FIELDS
from twofold.baselines.dense import BiEncoder, FrozenEncoder, HistoryMean
from twofold.baselines.documents import Documents
from twofold.baselines.item_knn import ItemKNN
from twofold.baselines.personal_frequency import PersonalFrequency
from twofold.baselines.popularity import Popularity
from twofold.baselines.sasrec import sasrec
from twofold.encoders.text_encoder import resolve_encoder
from twofold.encoders.vectors import TextEncoder
from twofold.records import Retriever
from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.prepared import PreparedDataset
from twofold.testing import RetrieverContract
from twofold.training.config import resolve_config
from twofold.training.train import train


def _encoder(data: PreparedDataset) -> TextEncoder:
    encoder = resolve_encoder("tfidf", data.catalog.texts, data.queries["text"].to_list())
    assert encoder is not None
    return encoder


MAKERS: dict[str, Callable[[PreparedDataset], Retriever]] = {
    "popularity (search)": lambda data: Popularity(data, "search"),
    "popularity (recommendation)": lambda data: Popularity(data, "recommendation"),
    "personal frequency": lambda data: PersonalFrequency(data, 0.9),
    "item-kNN": lambda data: ItemKNN(data),
    "history mean": lambda data: HistoryMean(data, _encoder(data)),
    "bi-encoder": lambda data: BiEncoder(data, _encoder(data)),
    "frozen encoder": lambda data: FrozenEncoder(data, _encoder(data)),
    "documents": lambda data: Documents(data, _encoder(data)),
}


class TestBaselines(RetrieverContract):
    @pytest.fixture(params=MAKERS)
    def retriever(self, request: pytest.FixtureRequest, dataset: PreparedDataset) -> Retriever:
        return MAKERS[request.param](dataset)


class TestBM25(RetrieverContract):
    ranks_whole_catalog = False

    @pytest.fixture(params=FIELDS)
    def retriever(self, request: pytest.FixtureRequest, dataset: PreparedDataset) -> Retriever:
        return BM25(dataset, request.param)


class TestGenerative(RetrieverContract):
    @pytest.fixture
    def retriever(self, retriever: GenerativeRetriever) -> Retriever:
        return retriever


class TestTrainedForFourSteps(RetrieverContract):
    """The contract holds whatever a model has learned."""

    @pytest.fixture(params=["semantic_model", "sasrec_model"])
    def retriever(self, request: pytest.FixtureRequest) -> Retriever:
        retriever: Retriever = request.getfixturevalue(request.param)
        return retriever


FOUR_STEPS = resolve_config(
    "quick",
    backbone="decoder:tiny",
    max_steps=4,
    text_vocab_size=400,
    precision="float32",
)


@pytest.fixture(scope="module")
def semantic_model(
    catalog: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> GenerativeRetriever:
    config = FOUR_STEPS.model_copy(update={"identifiers": "semantic"})
    out = tmp_path_factory.mktemp("semantic") / "model"
    return train(catalog, out=out, config=config, device="cpu")


@pytest.fixture(scope="module")
def sasrec_model(
    catalog: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> GenerativeRetriever:
    return sasrec(catalog, tmp_path_factory.mktemp("sasrec") / "model", FOUR_STEPS, device="cpu")
