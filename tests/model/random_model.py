"""Untrained models over made catalogs, for tests that need exact arithmetic and no training."""

import numpy as np
import polars as pl
import pytest
import torch

from twofold.data.dataset import Catalog
from twofold.identifiers.identifiers import Identifiers, IdSpaces, shared
from twofold.model.backbone import resolve_precision
from twofold.model.checkpoint import GenerativeModel, tries_of
from twofold.model.fresh import fresh_backbone
from twofold.model.vocabulary import Vocabulary, fresh_vocabulary, train_tokenizer
from twofold.records import TASKS

CPU = torch.device("cpu")
IN_BFLOAT16 = pytest.param(
    "bfloat16",
    marks=pytest.mark.skipif(
        resolve_precision("auto", CPU) != "bfloat16", reason="this CPU does not multiply bfloat16"
    ),
)
"""A parameter for tests of the precision in which models answer on recent servers."""
BACKBONES = ["decoder:tiny", "t5:tiny", "sasrec:tiny"]
TOKENIZER = train_tokenizer(["slow space opera", "space heist", "slow dance"] * 3, 300)


def random_vocabulary(spaces: IdSpaces) -> Vocabulary:
    """A vocabulary that reads five items of a history and four tokens of a query."""
    return fresh_vocabulary(TOKENIZER, spaces, max_history=5, max_query_tokens=4)


def random_model(spaces: IdSpaces, backbone: str, seed: int) -> GenerativeModel:
    """A fresh model with enlarged weights, so that the probabilities of codes differ.

    Items are `item-000` and so on; their attribute `kind` is red, blue, both or missing in turn.
    """
    ids = [f"item-{n:03d}" for n in range(len(spaces.search))]
    kinds = [("red", "blue", "red|blue", "")[n % 4] for n in range(len(ids))]
    vocabulary = random_vocabulary(spaces)
    fresh = fresh_backbone(backbone, vocabulary, 0.0, seed).eval()
    with torch.no_grad():
        for name, weights in fresh.named_parameters():
            if weights.ndim > 1 and "norm" not in name:
                weights.mul_(4)
    return GenerativeModel(
        catalog=Catalog.of(pl.DataFrame({"item_id": ids, "title": ids, "kind": kinds})),
        vocabulary=vocabulary,
        backbone=fresh,
        tasks=TASKS,
        seen="exclude",
        precision="float32",
        tries=tries_of(spaces),
    )


def spaces_of(made: Identifiers, seed: int, kind: str) -> IdSpaces:
    """One space for both tasks, or another one for search, `separate` or with a shared prefix."""
    if kind == "shared" or (kind == "shared prefix" and made.levels == 1):
        return shared(made)
    rng = np.random.default_rng(seed)
    if kind == "separate":
        other = np.arange(len(made))[rng.permutation(len(made))]
        codes = np.stack(np.divmod(other, 3), axis=1)
        return IdSpaces(made, Identifiers("semantic", codes, (len(made) // 3 + 1, 3)), 0)
    codes = made.codes[:, :1]
    suffix = np.zeros(len(made), np.int64)
    for code in np.unique(codes):
        same = np.flatnonzero(codes[:, 0] == code)
        suffix[same] = rng.permutation(len(same))
    sizes = (made.codebook_sizes[0], int(suffix.max()) + 1)
    return IdSpaces(made, Identifiers("semantic", np.column_stack([codes, suffix]), sizes), 1)


def grid(*sizes: int, step: int = 1) -> Identifiers:
    """Semantic IDs with every combination of codes, or every `step`-th of them."""
    chosen = np.arange(0, np.prod(sizes), step)
    codes = np.stack(np.unravel_index(chosen, sizes), axis=1)
    return Identifiers("semantic", codes, sizes)
