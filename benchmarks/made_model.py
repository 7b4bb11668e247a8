"""A model folder of any size without training: its parts are drawn, its shapes are those of a
trained one.

    python benchmarks/made_model.py --items 100000 --out DIR [--identifiers semantic] [--seed 0]
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from twofold.data.dataset import Catalog
from twofold.encoders.item_vectors import on_principal_axes
from twofold.encoders.text_encoder import resolve_encoder
from twofold.identifiers.identifiers import Identifiers, IdSpaces, atomic, shared
from twofold.model.checkpoint import GenerativeModel, save_model, tries_of
from twofold.model.fresh import fresh_backbone, start_from_vectors
from twofold.model.vocabulary import fresh_vocabulary, train_tokenizer
from twofold.records import TASKS

GENRES = ("Comedy", "Drama", "Horror", "Musical", "War", "Western")
_USERS = 2000
_CODES = 256


def made_catalog(items: int, words: int = 5000) -> Catalog:
    """Titles of three or four words, the common ones often; the same for every seed."""
    rng = np.random.default_rng(7)
    word = rng.zipf(1.3, (items, 4)) % words
    titles = [" ".join(f"word{w}" for w in row[: 3 + row[0] % 2]) for row in word.tolist()]
    genres = rng.choice(GENRES, items).tolist()
    ids = [f"item-{n}" for n in range(items)]
    return Catalog.of(pl.DataFrame({"item_id": ids, "title": titles, "genre": genres}))


def _spaces(items: int, kind: str, rng: np.random.Generator) -> IdSpaces:
    if kind == "atomic":
        return shared(atomic(items))
    numbers = rng.choice(_CODES**3, items, replace=False)
    codes = np.stack([numbers // _CODES**power % _CODES for power in (2, 1, 0)], axis=1)
    codes = np.hstack([codes, np.zeros((items, 1), np.int64)])  # a last level, for collisions
    return shared(Identifiers("semantic", codes, (_CODES,) * 4))


def make_model(out: Path, items: int, kind: str = "atomic", seed: int = 0) -> None:
    """Write a model folder; another seed has other weights, and so answers otherwise."""
    rng = np.random.default_rng(seed)
    catalog = made_catalog(items)
    texts = catalog.texts
    encoder = resolve_encoder("tfidf", texts, texts[:1000])
    assert encoder is not None
    vectors = encoder.encode(texts)
    vectors = vectors + rng.normal(0, 0.02, vectors.shape).astype(np.float32)
    spaces = _spaces(items, kind, rng)
    vocabulary = fresh_vocabulary(train_tokenizer(texts[:5000], 2000), spaces, 100, 0, encoder)
    backbone = fresh_backbone("decoder:small", vocabulary, 0.0, seed)
    width = backbone.output_embeddings().shape[1]
    known = on_principal_axes(vectors, encoder.encode(texts[:1000]), width)
    start_from_vectors(backbone, spaces, known.items, known.query_map)
    model = GenerativeModel(
        catalog=catalog,
        vocabulary=vocabulary,
        backbone=backbone.eval(),
        tasks=TASKS,
        seen="exclude",
        precision="float32",
        tries=tries_of(spaces),
        histories={f"user-{n}": rng.integers(0, items, 50) for n in range(_USERS)},
        item_vectors=vectors,
    )
    save_model(model, out, {"made": {"items": items, "identifiers": kind, "seed": seed}})


def main() -> None:
    """Make one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--identifiers", choices=["atomic", "semantic"], default="atomic")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    make_model(arguments.out, arguments.items, arguments.identifiers, arguments.seed)


if __name__ == "__main__":
    main()
