"""BM25 or a bi-encoder with faiss as the engine of the application that serves models.

python benchmarks/other_engines.py DATASET bm25 --port PORT
python benchmarks/other_engines.py DATASET bi-encoder --encoder NAME --vectors FILE --port PORT
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import bm25s
import faiss
import numpy as np
import torch

from twofold.data.dataset import Catalog
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.vectors import Vectors
from twofold.records import InputError, Ints, Request
from twofold.retrieval.attributes import Attributes
from twofold.serving.app import create_app
from twofold.serving.engines.engine import Engine, ScoredItem, ServedModel, TopK
from twofold.serving.http.server import run
from twofold.tasks.storage import load_dataset

Search = Callable[[Sequence[str], int], tuple[Ints, np.ndarray]]
"""Texts and k -> catalog positions and scores, (B, k)."""


class SearchEngine:
    """An engine that answers queries alone."""

    def __init__(self, name: str, catalog: Catalog, search: Search) -> None:
        self.served = ServedModel(
            model=name,
            model_version="1",
            catalog_version="1",
            items=len(catalog),
            carries_histories=False,
            tasks=("search",),
        )
        self._catalog, self._search = catalog, search
        self._ids, self._attributes = catalog.item_ids, Attributes(catalog)

    def check(self, request: Request) -> None:
        if request.query is None:
            raise InputError("this server answers queries alone")

    def excludes_seen(self, _: Request) -> bool:
        return False

    def answer(self, requests: Sequence[TopK]) -> list[list[ScoredItem]]:
        k = max(each.k for each in requests)
        items, scores = self._search([each.request.query or "" for each in requests], k)
        return [
            [self._item(int(i), float(s)) for i, s in zip(row[: each.k], values, strict=False)]
            for each, row, values in zip(requests, items, scores, strict=True)
        ]

    def find_titles(self, _: str, k: int) -> list[ScoredItem]:
        return [self._item(position, 0.0) for position in range(k)]

    def _item(self, position: int, score: float) -> ScoredItem:
        item_id = self._ids[position]
        title = self._catalog.title(item_id)
        return ScoredItem(item_id, title, self._attributes.of(position), score)


def by_words(catalog: Catalog) -> Search:
    """bm25s over the items' texts."""
    index = bm25s.BM25()
    index.index(
        bm25s.tokenize(catalog.texts, stopwords="en", show_progress=False), show_progress=False
    )

    def search(texts: Sequence[str], k: int) -> tuple[Ints, np.ndarray]:
        words = bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
        results = index.retrieve(words, k=k, show_progress=False, n_threads=0)
        return results.documents, results.scores

    return search


def by_vectors(catalog: Catalog, name: str, file: Path) -> Search:
    """A sentence encoder and an exact faiss index; the items' vectors are kept in a file."""
    model = SentenceEncoder.load(name).model

    def encode(texts: Sequence[str]) -> Vectors:
        # Not through SentenceEncoder, which would know a text that it has met before.
        found: Vectors = model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False
        )
        return found

    if not file.exists():
        np.save(file, encode(catalog.texts))
    vectors = np.load(file)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)

    def search(texts: Sequence[str], k: int) -> tuple[Ints, np.ndarray]:
        scores, items = index.search(encode(texts), k)
        return items, scores

    return search


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("kind", choices=["bm25", "bi-encoder"])
    parser.add_argument("--encoder")
    parser.add_argument("--vectors", type=Path, help="a file, written if missing")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    if arguments.kind == "bi-encoder" and not (arguments.encoder and arguments.vectors):
        parser.error("bi-encoder needs --encoder and --vectors")
    torch.set_num_threads(1)
    catalog = load_dataset(arguments.dataset).catalog
    if arguments.kind == "bm25":
        search = by_words(catalog)
    else:
        search = by_vectors(catalog, arguments.encoder, arguments.vectors)
    engine: Engine = SearchEngine(arguments.kind, catalog, search)  # type: ignore[assignment]
    run(create_app({arguments.kind: engine}), "127.0.0.1", arguments.port)


if __name__ == "__main__":
    main()
