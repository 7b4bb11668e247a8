"""A model folder: everything that is needed to answer requests.

`backbone/` is a transformers checkpoint as it is; beside it stand the tokenizer, the identifiers,
the catalog and, unless left out, the users' histories.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from twofold import artifact
from twofold.data.dataset import Catalog
from twofold.encoders.text_encoder import load_encoder, sentence_encoder_of
from twofold.identifiers.identifiers import IdSpaces, load_spaces
from twofold.identifiers.trie import Trie, build_trie, load_trie
from twofold.model.backbone import Backbone, load_backbone
from twofold.model.device import autocast
from twofold.model.hybrid import Hybrid, load_hybrid
from twofold.model.vocabulary import Vocabulary, load_tokenizer
from twofold.records import TASKS, Ints, Task

KIND = "model"
_HISTORIES = "histories.parquet"
_ITEM_VECTORS = "item_vectors.npy"


@dataclass(frozen=True, eq=False)
class GenerativeModel:
    """A model in memory.

    Attributes:
        catalog: the items that it can answer with.
        vocabulary: with the identifiers of the catalog.
        backbone: the weights.
        tasks: what it was trained on.
        seen: whether a user's earlier items may come back in recommendation.
        precision: of matrix products: `bfloat16` or `float32`.
        tries: of each task's identifiers, unless they are atomic.
        histories: user_id -> catalog positions, oldest first.
        item_vectors: of the items' texts by the vocabulary's encoder, (N, E), where it has one:
            new items are placed by them. In half precision where they were loaded.
        hybrid: what queries and items' documents have in common directly, where it helps.
        stamp: what its numbers rest on.
    """

    catalog: Catalog
    vocabulary: Vocabulary
    backbone: Backbone
    tasks: tuple[str, ...]
    seen: str
    precision: str
    tries: Mapping[Task, Trie] = field(default_factory=dict)
    histories: Mapping[str, Ints] = field(default_factory=dict)
    item_vectors: npt.NDArray[np.floating] | None = None
    hybrid: Hybrid | None = None
    stamp: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Matrix products in the precision that the model was trained with."""
        return autocast(self.device, self.precision)


def tries_of(spaces: IdSpaces) -> dict[Task, Trie]:
    """The trie of each task's identifiers; none for atomic ones, which need none."""
    if spaces.are_atomic:
        return {}
    ours = build_trie(spaces.recommendation)
    theirs = ours if spaces.are_shared else build_trie(spaces.search)
    return {"recommendation": ours, "search": theirs}


def save_model(model: GenerativeModel, out: Path, config: dict[str, Any]) -> None:
    """Write a model folder; `config` says how it was trained, for the manifest."""
    spaces = model.vocabulary.spaces
    shape = {
        **spaces.shape,
        "text_size": model.vocabulary.text_size,
        "pad": model.vocabulary.pad,
        "max_history": model.vocabulary.max_history,
        "max_query": model.vocabulary.max_query_tokens,
        "tasks": list(model.tasks),
        "seen": model.seen,
        "precision": model.precision,
    }
    everything = {**config, "model": shape, "stamp": model.stamp}
    with artifact.write(out, KIND, everything) as folder:
        model.backbone.save(folder / "backbone")
        model.vocabulary.save(folder)
        spaces.save(folder)
        for task, trie in model.tries.items():
            if task == "recommendation" or not spaces.are_shared:
                trie.save(folder / f"trie-{task}")
        model.catalog.items.write_parquet(folder / "catalog.parquet")
        if model.item_vectors is not None:
            # Half precision moves a cosine by less than 1e-3, and halves the file.
            np.save(folder / _ITEM_VECTORS, model.item_vectors.astype(np.float16))
        if model.hybrid is not None:
            model.hybrid.save(folder)
        if model.histories:
            item_ids = model.catalog.items["item_id"]
            histories = {
                "user_id": list(model.histories),
                "history": [item_ids[items].to_list() for items in model.histories.values()],
            }
            pl.DataFrame(histories).write_parquet(folder / _HISTORIES)


def load_model_folder(folder: Path, device: torch.device) -> GenerativeModel:
    """Read and verify a model folder.

    Raises:
        InputError: it is incomplete, changed, or of a newer format.
    """
    config = artifact.load(folder, KIND)["config"]
    shape = config["model"]
    catalog = Catalog.of(pl.read_parquet(folder / "catalog.parquet"))
    vocabulary = Vocabulary(
        load_tokenizer(folder),
        shape["text_size"],
        shape["pad"],
        load_spaces(folder, shape),
        shape["max_history"],
        shape["max_query"],
        load_encoder(folder),
    )
    tries: dict[Task, Trie] = {}
    if (folder / "trie-recommendation").is_dir():
        tries = dict.fromkeys(TASKS, load_trie(folder / "trie-recommendation"))
    if (folder / "trie-search").is_dir():
        tries["search"] = load_trie(folder / "trie-search")
    histories: dict[str, Ints] = {}
    if (folder / _HISTORIES).is_file():
        for user_id, items in pl.read_parquet(folder / _HISTORIES).iter_rows():
            histories[user_id] = np.array([catalog.positions[i] for i in items], dtype=np.int64)
    vectors: npt.NDArray[np.floating] | None = None
    if (folder / _ITEM_VECTORS).is_file():
        vectors = np.load(folder / _ITEM_VECTORS, allow_pickle=False)
    return GenerativeModel(
        catalog=catalog,
        vocabulary=vocabulary,
        backbone=load_backbone(folder / "backbone", vocabulary).to(device).eval(),
        tasks=tuple(shape["tasks"]),
        seen=shape["seen"],
        precision=shape["precision"],
        tries=tries,
        histories=histories,
        item_vectors=vectors,
        hybrid=load_hybrid(folder, sentence_encoder_of(vocabulary.encoder)),
        stamp=config["stamp"],
    )
