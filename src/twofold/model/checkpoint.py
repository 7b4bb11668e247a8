"""A trained model in memory, and its folder, which has all that inference needs.

`backbone/` in the folder is an ordinary transformers checkpoint; the other files are the tokenizer,
the identifiers, the catalog and, unless left out, the users' histories.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pydantic
import torch
from safetensors.torch import load_file

from twofold import artifact
from twofold.data.dataset import Catalog
from twofold.encoders.text_encoder import load_encoder, sentence_encoder_of
from twofold.identifiers.identifiers import IdSpaces, SpacesShape, load_spaces
from twofold.model.backbone import (
    QUERY_MAP,
    TIME_EMBEDDING,
    Backbone,
    Decoder,
    LlamaDecoder,
    autocast,
    hide_progress,
    retrieval_precision,
)
from twofold.model.encoded import Batch, EncodedExample, padded
from twofold.model.hybrid import (
    HistoryMatch,
    Hybrid,
    HybridPart,
    load_history_match,
    load_hybrid,
)
from twofold.model.llama import Llama, LlamaConfig
from twofold.model.stamp import HISTORIES, KIND, Stamp
from twofold.model.vocabulary import Vocabulary, load_tokenizer
from twofold.records import TASKS, InputError, Ints, Seen, Task
from twofold.tasks.arrays import Histories, numbers_of
from twofold.tasks.prepared import height, write_parts

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from twofold.identifiers.trie import Trie

_ITEM_VECTORS = "item_vectors.npy"
_USERS = 100_000
"""The users whose histories are read at once, as text."""


@dataclass(frozen=True, eq=False)
class GenerativeModel:
    """A trained model in memory.

    Attributes:
        catalog: the items that it can retrieve.
        vocabulary: the tokens, and the identifiers of the catalog.
        backbone: the weights.
        tasks: the tasks that it was trained on.
        seen: whether recommendation may return items of the history: `exclude` or `keep`.
        precision: the precision of matrix products in training, `bfloat16` or `float32`.
        tries: the trie of each task's identifiers; none for atomic ones.
        histories: user_id -> catalog positions, oldest first.
        item_vectors: vectors of the items' texts by the vocabulary's encoder, (N, E), in half
            precision after loading; new items are placed by them. None without an encoder.
        hybrid: the lexical and dense part of search scores; None for generative scores alone.
        history_match: the part of recommendation scores that counts which items go together; None
            for generative scores alone.
        stamp: what the model's numbers depend on.
    """

    catalog: Catalog
    vocabulary: Vocabulary
    backbone: Backbone
    tasks: tuple[str, ...]
    seen: str
    precision: str
    tries: "Mapping[Task, Trie]" = field(default_factory=dict)
    histories: Mapping[str, Ints] = field(default_factory=dict)
    item_vectors: npt.NDArray[np.floating] | None = None
    hybrid: Hybrid | None = None
    history_match: HistoryMatch | None = None
    stamp: Stamp = field(default_factory=Stamp)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.backbone.parameters()).device

    @property
    def reads_time(self) -> bool:
        """Whether recommendation reads the time between the last event and the request."""
        return self.vocabulary.reads_time and "recommendation" in self.tasks

    @property
    def generative(self) -> "GenerativeModel":
        """The same model with generative scores alone."""
        return replace(self, hybrid=None, history_match=None)

    def hybrid_part(self, task: Task) -> HybridPart | None:
        """The part that is added to a task's scores; None for generative scores alone."""
        return self.hybrid if task == "search" else self.history_match

    def has_known_word(self, query: str) -> bool:
        """Whether the model knows a word of a query, from an item's text or a training query.

        With a pretrained backbone or a sentence encoder every word counts as known. So does it for
        a model without a text encoder and a hybrid part, which has no list of words.
        """
        encoder = self.vocabulary.encoder
        if self.vocabulary.is_pretrained or sentence_encoder_of(encoder) is not None:
            return True
        word_lists = [
            getattr(encoder, "words", None),
            self.hybrid.lexical.words if self.hybrid else None,
        ]
        lists = [words for words in word_lists if words is not None]
        return not lists or any(words.has_known_word(query) for words in lists)

    @property
    def retrieval_precision(self) -> str:
        """The precision of matrix products on the model's device, `bfloat16` or `float32`."""
        return retrieval_precision(self.precision, self.device)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Compute matrix products in `retrieval_precision`."""
        return autocast(self.device, self.retrieval_precision)

    def batch_of(self, requests: Sequence[EncodedExample]) -> Batch:
        """Encoded requests as one batch on the model's device, with the scores of the hybrid part
        if identifiers are atomic; with semantic IDs they are added to items, after beam search.

        They are padded to a multiple of the SIMD width: attention then sums in the same order
        whatever the batch's longest request is, and the rest of a batch hardly changes a bit of an
        answer (docs/project/decisions/0014-decode-hypotheses-as-positions.md).
        """
        longest = max(len(request.tokens) for request in requests)
        positions = getattr(self.backbone.model.config, "max_position_embeddings", None) or np.inf
        batch = self.vocabulary.collate(requests, int(min(padded(longest), positions)))
        has_query = any(request.query for request in requests)
        part = self.hybrid_part("search" if has_query else "recommendation")
        if part is not None and not self.tries:
            batch = replace(batch, matches=torch.from_numpy(part.matches(requests)))
        return batch.to(self.device)

    def log_probabilities(self, batch: Batch, codebook: slice) -> torch.Tensor:
        """log p of the first code of each request's answer, (B, codes of the codebook), float32.

        Raises:
            NotFiniteError: the model computes NaN or infinite values.
        """
        with self.autocast():
            states = finite(self.backbone.states(batch))
        logits = with_matches(self.backbone.logits(states, codebook), batch.matches)
        return torch.log_softmax(logits, dim=1)

    def require_task(self, query: str | None, name: str) -> None:
        """Raise InputError if the model was not trained for the task of a request.

        Args:
            query: the request's query; None in recommendation.
            name: what the model is called in the message.
        """
        task = self.vocabulary.task(query)
        if task not in self.tasks:
            raise InputError(
                f"model '{name}' was trained for {' and '.join(self.tasks)} alone; for {task} "
                f"choose a model that was trained for it (GET /models lists those of a server, and "
                f"twofold train --arm {task} makes one)"
            )


def with_matches(logits: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
    """Logits of the first codes, (..., codes), plus the scores of the hybrid part, if any."""
    return logits + matches if matches.shape[-1] else logits


class NotFiniteError(InputError):
    """A model computes NaN or infinite values."""


def finite(states: torch.Tensor) -> torch.Tensor:
    """The states; raises NotFiniteError if training diverged and they are not finite."""
    if not states.isfinite().all():
        raise NotFiniteError(
            "the model's states are not finite, as its training diverged: train it again with a "
            "lower learning rate (--set learning_rate=VALUE)"
        )
    return states


def tries_of(spaces: IdSpaces) -> "dict[Task, Trie]":
    """The trie of each task's identifiers; atomic ones need none."""
    if spaces.are_atomic:
        return {}
    from twofold.identifiers.trie import build_trie

    recommendation = build_trie(spaces.recommendation)
    search = recommendation if spaces.are_shared else build_trie(spaces.search)
    return {"recommendation": recommendation, "search": search}


def save_model(model: GenerativeModel, out: Path, config: dict[str, Any]) -> None:
    """Write a model folder; `config` has the settings of the training, for the manifest.

    Raises:
        InputError: `out` exists already.
    """
    with artifact.write(
        out,
        KIND,
        {
            **config,
            "model": _Shape.of(model).model_dump(mode="json"),
            "stamp": model.stamp.as_dict(),
        },
    ) as folder:
        model.backbone.save(folder / "backbone")
        model.vocabulary.save(folder)
        _save_identifiers(model, folder)
        model.catalog.items.write_parquet(folder / "catalog.parquet")
        if model.item_vectors is not None:
            # Half precision moves a cosine by less than 1e-3, and halves the file.
            np.save(folder / _ITEM_VECTORS, model.item_vectors.astype(np.float16))
        for part in (model.hybrid, model.history_match):
            if part is not None:
                part.save(folder)
        if model.histories:
            _save_histories(model, folder)


class _Shape(pydantic.BaseModel):
    """The shapes that `load_model_folder` needs before it reads the files."""

    identifiers: str
    codebook_sizes: list[int]
    search_codebook_sizes: list[int]
    shared_levels: int
    text_size: int
    pad: int
    max_history: int
    max_query: int
    tasks: tuple[Task, ...]
    seen: Seen
    precision: Literal["bfloat16", "float32"]
    reads_time: bool

    @classmethod
    def of(cls, model: GenerativeModel) -> "_Shape":
        """The shapes of a model."""
        vocabulary = model.vocabulary
        return cls.model_validate(
            {
                **vocabulary.spaces.shape,
                "text_size": vocabulary.text_size,
                "pad": vocabulary.pad,
                "max_history": vocabulary.max_history,
                "max_query": vocabulary.max_query_tokens,
                "tasks": model.tasks,
                "seen": model.seen,
                "precision": model.precision,
                "reads_time": vocabulary.reads_time,
            }
        )

    @property
    def spaces(self) -> SpacesShape:
        """The shape of the identifiers."""
        return {
            "identifiers": self.identifiers,
            "codebook_sizes": self.codebook_sizes,
            "search_codebook_sizes": self.search_codebook_sizes,
            "shared_levels": self.shared_levels,
        }


class _Config(pydantic.BaseModel):
    """The part of a model's manifest that inference reads."""

    model: _Shape
    stamp: dict[str, Any]


def _save_identifiers(model: GenerativeModel, folder: Path) -> None:
    spaces = model.vocabulary.spaces
    spaces.save(folder)
    for task, trie in model.tries.items():
        if task == "recommendation" or not spaces.are_shared:
            trie.save(folder / f"trie-{task}")


def _save_histories(model: GenerativeModel, folder: Path) -> None:
    histories, item_ids = Histories.of(model.histories), model.catalog.items["item_id"]
    write_parts(histories.frames(item_ids), folder / HISTORIES)


def load_model_folder(folder: Path, device: torch.device) -> GenerativeModel:
    """Read and verify a model folder.

    Raises:
        InputError: the folder is incomplete, changed, or of a newer format.
    """
    config = artifact.load_config(folder, KIND, _Config)
    shape = config.model
    catalog = Catalog.of(pl.read_parquet(folder / "catalog.parquet", glob=False))
    vocabulary = Vocabulary(
        tokenizer=load_tokenizer(folder),
        text_size=shape.text_size,
        pad=shape.pad,
        spaces=load_spaces(folder, shape.spaces),
        max_history=shape.max_history,
        max_query_tokens=shape.max_query,
        encoder=load_encoder(folder),
        reads_time=shape.reads_time,
    )
    return GenerativeModel(
        catalog=catalog,
        vocabulary=vocabulary,
        backbone=load_backbone(folder / "backbone", vocabulary).to(device).eval(),
        tasks=shape.tasks,
        seen=shape.seen,
        precision=shape.precision,
        tries=_load_tries(folder),
        histories=_load_histories(folder, catalog),
        item_vectors=_load_item_vectors(folder),
        hybrid=load_hybrid(folder, sentence_encoder_of(vocabulary.encoder)),
        history_match=load_history_match(folder),
        stamp=Stamp.read(config.stamp),
    )


def class_of(config: "PreTrainedConfig") -> type[Backbone]:
    """The class of backbone of a model's configuration in transformers."""
    from twofold.model.t5 import EncoderDecoder

    return EncoderDecoder if config.is_encoder_decoder else Decoder


def load_backbone(folder: Path, vocabulary: Vocabulary) -> Backbone:
    """Read what `Backbone.save` wrote, to answer requests: dropout is not restored."""
    if config := LlamaConfig.read(folder):
        backbone: Backbone = LlamaDecoder(Llama.from_pretrained(folder, config), vocabulary)
    else:
        backbone = _load_with_transformers(folder, vocabulary)
    # The weights are memory-mapped, so a program that overwrites the file would change or crash a
    # served model.
    for tensor in (*backbone.model.parameters(), *backbone.model.buffers()):
        tensor.data = tensor.data.clone()
    if backbone.query_map is not None:
        backbone.query_map.load_state_dict(load_file(folder / QUERY_MAP))
    if backbone.time_embedding is not None:
        backbone.time_embedding.load_state_dict(load_file(folder / TIME_EMBEDDING))
    return backbone


def _load_with_transformers(folder: Path, vocabulary: Vocabulary) -> Backbone:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    hide_progress()
    config = AutoConfig.from_pretrained(folder)
    family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = family.from_pretrained(folder, dtype=torch.float32)
    return class_of(config)(model, vocabulary)


def _load_tries(folder: Path) -> "dict[Task, Trie]":
    # Imported here, as models with atomic identifiers have no trie.
    from twofold.identifiers.trie import load_trie

    tries: dict[Task, Trie] = {}
    if (folder / "trie-recommendation").is_dir():
        tries = dict.fromkeys(TASKS, load_trie(folder / "trie-recommendation"))
    if (folder / "trie-search").is_dir():
        tries["search"] = load_trie(folder / "trie-search")
    return tries


def _load_histories(folder: Path, catalog: Catalog) -> Mapping[str, Ints]:
    if not (folder / HISTORIES).is_file():
        return {}
    table, item_ids = pl.scan_parquet(folder / HISTORIES, glob=False), catalog.items["item_id"]
    users, counts, positions = [], [], []
    for start in range(0, max(1, height(table)), _USERS):
        part = table.slice(start, _USERS).collect()
        counts.append(part["history"].list.len().cast(pl.Int64).to_numpy())
        items = part["history"].filter(pl.Series(counts[-1] > 0)).explode()
        users.append(part["user_id"])
        positions.append(numbers_of(items, item_ids).astype(np.int32))
    sizes = np.concatenate(counts)
    ends = np.cumsum(sizes)
    return Histories(pl.concat(users), np.concatenate(positions), ends - sizes, ends)


def _load_item_vectors(folder: Path) -> npt.NDArray[np.floating] | None:
    if not (folder / _ITEM_VECTORS).is_file():
        return None
    vectors: npt.NDArray[np.floating] = np.load(folder / _ITEM_VECTORS, allow_pickle=False)
    return vectors
