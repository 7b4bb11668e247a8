"""Contrastive fine-tuning of a sentence encoder on the training examples of one or both tasks.

A pair of search is a query and the text of a relevant item; a pair of recommendation is the text of
an item in a history and the text of one soon after it. Negatives are in-batch, with false negatives
masked (Karpukhin et al., EMNLP 2020): the positives of the other pairs in the batch, except those
that are relevant for the query or the user as well. One encoder for both tasks is the "multi-task"
of Penha et al., RecSys 2025.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydantic
import torch
from torch.nn import functional as F

from twofold import artifact
from twofold.encoders.sentence import SentenceEncoder
from twofold.records import InputError, Ints, Task
from twofold.tasks.prepared import PreparedDataset

KIND = "encoder"

_WINDOW = 5
"""The items of a recommendation pair are at most this many events apart."""


class TuningConfig(pydantic.BaseModel):
    """Settings of the fine-tuning of a bi-encoder."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    epochs: int = pydantic.Field(
        3, ge=1, description="passes over the training queries, each with one answer"
    )
    recommendation_pairs: int = pydantic.Field(
        20_000, ge=2, description="the most pairs of an epoch; with search at most one for a query"
    )
    batch: int = pydantic.Field(64, ge=2, description="pairs in a batch")
    learning_rate: float = pydantic.Field(5e-5, gt=0, description="peak learning rate of AdamW")
    scale: float = pydantic.Field(20.0, gt=0, description="a score is a cosine times this scale")
    tokens: int = pydantic.Field(96, ge=8, description="the first tokens of a text that are read")


class _Pair(NamedTuple):
    """A text and its relevant items.

    Attributes:
        text: the text of a query, or of an item in a history.
        positives: the items from which the positive is drawn.
        relevant: the items that are never negatives.
    """

    text: str
    positives: Ints
    relevant: Ints


def tune_encoder(
    dataset: PreparedDataset,
    encoder: SentenceEncoder,
    out: Path,
    judge: Callable[[SentenceEncoder], float] | None,
    config: TuningConfig | None = None,
    seed: int = 0,
    tasks: Sequence[Task] = ("search",),
    device: str = "cpu",
) -> SentenceEncoder:
    """Fine-tune `encoder` on the training examples of `dataset`.

    Args:
        dataset: the training examples and the items' texts.
        encoder: the initial encoder; it is not changed.
        out: the folder of the fine-tuned model, in the format of sentence-transformers.
        judge: the value of an encoder on validation, larger is better; the encoder of the best
            epoch is kept, or the initial one if no epoch is better. Without `judge`, that of the
            last epoch is kept.
        config: the settings; the defaults of its fields if None.
        seed: the random seed of the order, the positives and the recommendation pairs.
        tasks: the tasks to learn from; with both, an epoch has about as many pairs of each.
        device: `cpu` or `cuda`.

    Raises:
        InputError: a task has no training example, or recommendation has no item text.
    """
    from sentence_transformers import SentenceTransformer

    config = config or TuningConfig()
    drawn = _Pairs(dataset, tasks, config.recommendation_pairs)
    model = SentenceTransformer(encoder.name, device=device, local_files_only=True)
    full_length = model.max_seq_length
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    best, kept = judge(encoder) if judge else -np.inf, _copy(model)
    for epoch in range(config.epochs):
        pairs = drawn.of_epoch(seed, epoch)
        model.max_seq_length = config.tokens
        _train_epoch(model, optimizer, pairs, dataset.catalog.texts, config, seed, epoch)
        model.max_seq_length = full_length
        value = judge(SentenceEncoder(encoder.name, model)) if judge else epoch
        if value > best:
            best, kept = value, _copy(model)
    model.load_state_dict(kept)
    manifest = tuning_manifest(dataset, encoder, config, seed, tasks)
    with artifact.write(out, KIND, manifest) as folder:
        model.save(str(folder))
    return SentenceEncoder.load(str(out))


def _train_epoch(
    model: Any,
    optimizer: torch.optim.Optimizer,
    pairs: list[_Pair],
    texts: list[str],
    config: TuningConfig,
    seed: int,
    epoch: int,
) -> None:
    """Train on the pairs once, in random order, at the learning rate of the epoch."""
    rng = np.random.default_rng([seed, epoch])
    batches = -(-len(pairs) // config.batch)
    torch.manual_seed(seed * 1_000_003 + epoch)
    model.train()
    for number, rows in enumerate(np.array_split(rng.permutation(len(pairs)), batches)):
        done = (epoch * batches + number) / (config.epochs * batches)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, 10 * done + 0.01, 1.01 - done)
        loss = _loss(model, [pairs[row] for row in rows], texts, rng, config.scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()


def tuning_manifest(
    dataset: PreparedDataset,
    encoder: SentenceEncoder,
    config: TuningConfig,
    seed: int,
    tasks: Sequence[Task],
) -> dict[str, Any]:
    """The manifest's configuration of a fine-tuned encoder: settings, initial encoder, tasks and
    data.
    """
    origin = {"seed": seed, "start": encoder.name, "tasks": list(tasks), "data": dataset.digest}
    return config.model_dump() | origin


class _Pairs:
    """The pairs of an epoch: every query, and recommendation pairs that are drawn in each epoch."""

    def __init__(self, dataset: PreparedDataset, tasks: Sequence[Task], most: int) -> None:
        self._texts = dataset.catalog.texts
        self._queries: list[_Pair] = []
        self._histories: list[Ints] = []
        if "search" in tasks:
            examples = dataset.task("search").source().examples
            self._queries = [_Pair(e.query or "", e.targets, e.targets) for e in examples]
            most = min(most, len(examples))
        if "recommendation" in tasks:
            dataset.task("recommendation").require_examples()
            self._histories = _with_text(dataset)
        self._events = np.cumsum([0, *(len(history) - 1 for history in self._histories)])
        self._most = min(most, int(self._events[-1]))

    def of_epoch(self, seed: int, epoch: int) -> list[_Pair]:
        """The pairs of an epoch. Recommendation pairs are drawn uniformly over the events that have
        an event before them.
        """
        if not self._histories:
            return self._queries
        rng = np.random.default_rng([seed, epoch, 1])
        drawn = np.sort(rng.choice(self._events[-1], self._most, replace=False))
        users = np.searchsorted(self._events, drawn, side="right") - 1
        pairs = []
        for user, place in zip(users, drawn - self._events[users] + 1, strict=True):
            history = self._histories[user]
            before = history[place - int(rng.integers(1, min(_WINDOW, place) + 1))]
            positive = history[place : place + 1]
            pairs.append(_Pair(text=self._texts[before], positives=positive, relevant=history))
        return self._queries + pairs


def _with_text(dataset: PreparedDataset) -> list[Ints]:
    """Training histories without the items that have no text, if two items are left.

    Raises:
        InputError: there is no such history.
    """
    readable = np.array([bool(text) for text in dataset.catalog.texts])
    read = (history[readable[history]] for history in dataset.training_histories.values())
    histories = [history for history in read if len(history) > 1]
    if not histories:
        raise InputError(
            f"{dataset.source}: no history has two items with a text for an encoder to read; "
            f"add a title or text to the items"
        )
    return histories


def _loss(
    model: Any,
    pairs: list[_Pair],
    texts: list[str],
    rng: np.random.Generator,
    scale: float,
) -> torch.Tensor:
    """Cross-entropy of each pair's positive among those of the batch, in both directions."""
    positives = np.array([rng.choice(pair.positives) for pair in pairs])
    queries = _vectors(model, [pair.text for pair in pairs])
    items = _vectors(model, [texts[positive] for positive in positives])
    scores = scale * queries @ items.T
    relevant = np.stack([np.isin(positives, pair.relevant) for pair in pairs])
    np.fill_diagonal(relevant, False)
    scores = scores.masked_fill(torch.from_numpy(relevant).to(scores.device), -torch.inf)
    diagonal = torch.arange(len(pairs), device=scores.device)
    return (F.cross_entropy(scores, diagonal) + F.cross_entropy(scores.T, diagonal)) / 2


def _vectors(model: Any, texts: list[str]) -> torch.Tensor:
    from sentence_transformers.util import batch_to_device

    inputs = batch_to_device(model.preprocess(texts), model.device)
    with torch.autocast(model.device.type, torch.bfloat16):
        vectors = model(inputs)["sentence_embedding"]
    return F.normalize(vectors.float(), dim=1)


def _copy(model: Any) -> Mapping[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
