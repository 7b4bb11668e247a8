"""A sentence encoder tuned on what stands in training for one task, or for both at once.

Search pairs a query with the text of an answer, recommendation the text of an item in a history
with the text of one soon after it. In-batch negatives with masked false ones (Karpukhin et al.,
EMNLP 2020): the text of every other answer in the batch is a wrong one, unless the query or the
user has it too. One encoder for both tasks: Penha et al., RecSys 2025, "multi-task".
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

_RECENT = 5
"""Events apart that still make a recommendation pair."""


class TuningConfig(pydantic.BaseModel):
    """How a bi-encoder is tuned."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    epochs: int = pydantic.Field(3, ge=1, description="passes over the queries, one answer each")
    recommendation_pairs: int = pydantic.Field(
        20_000, ge=2, description="drawn for an epoch, at most; with search no more than queries"
    )
    batch: int = pydantic.Field(64, ge=2, description="pairs in a batch")
    learning_rate: float = pydantic.Field(5e-5, gt=0, description="its peak; AdamW")
    scale: float = pydantic.Field(20.0, gt=0, description="a score is a cosine times this scale")
    tokens: int = pydantic.Field(96, ge=8, description="of a text that training reads")


class _Pair(NamedTuple):
    """A text, the items of which one is drawn as its answer, and those that are no wrong answer."""

    text: str
    answers: Ints
    right: Ints


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
    """Tune `encoder` on the training examples of `dataset`.

    Args:
        encoder: where to start; left as it is.
        out: the folder of the tuned model, as sentence-transformers writes it.
        judge: value of an encoder on validation, larger is better: the best epoch stays, none
            included. Without it the last one stays.
        config: by default as its fields say.
        seed: of the order, of the answers and of the recommendation pairs drawn.
        tasks: to learn from; with both, each epoch holds about equally many pairs of each.
        device: `cpu` or `cuda`, to tune on.

    Raises:
        InputError: no training example of a task, or no item text for recommendation.
    """
    from sentence_transformers import SentenceTransformer

    config = config or TuningConfig()
    drawn = _Pairs(dataset, tasks, config.recommendation_pairs)
    model = SentenceTransformer(encoder.name, device=device)
    reads, model.max_seq_length = model.max_seq_length, config.tokens
    texts = dataset.catalog.texts
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    best, kept = judge(encoder) if judge else -np.inf, _copy(model)
    for epoch in range(config.epochs):
        rng = np.random.default_rng([seed, epoch])
        pairs = drawn.of_epoch(seed, epoch)
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
        model.max_seq_length = reads
        value = judge(SentenceEncoder(encoder.name, model)) if judge else epoch
        if value > best:
            best, kept = value, _copy(model)
        model.max_seq_length = config.tokens
    model.max_seq_length = reads
    model.load_state_dict(kept)
    with artifact.write(
        out, KIND, tuning_manifest(dataset, encoder, config, seed, tasks)
    ) as folder:
        model.save(str(folder))
    return SentenceEncoder.load(str(out))


def tuning_manifest(
    dataset: PreparedDataset,
    encoder: SentenceEncoder,
    config: TuningConfig,
    seed: int,
    tasks: Sequence[Task],
) -> dict[str, Any]:
    """What a tuned encoder's folder says it was made of."""
    made_of = {"seed": seed, "start": encoder.name, "tasks": list(tasks), "data": dataset.digest}
    return config.model_dump() | made_of


class _Pairs:
    """The pairs of an epoch: every query, and recommendation pairs drawn anew each time."""

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
        """Uniform over the events that have one before them; the one before is a recent one."""
        if not self._histories:
            return self._queries
        rng = np.random.default_rng([seed, epoch, 1])
        drawn = np.sort(rng.choice(self._events[-1], self._most, replace=False))
        users = np.searchsorted(self._events, drawn, side="right") - 1
        found = []
        for user, place in zip(users, drawn - self._events[users] + 1, strict=True):
            history = self._histories[user]
            before = history[place - int(rng.integers(1, min(_RECENT, place) + 1))]
            found.append(_Pair(self._texts[before], history[place : place + 1], history))
        return self._queries + found


def _with_text(dataset: PreparedDataset) -> list[Ints]:
    """Training histories without the items that have no text, where two are left.

    Raises:
        InputError: there is none.
    """
    readable = np.array([bool(text) for text in dataset.catalog.texts])
    read = (history[readable[history]] for history in dataset.training_histories.values())
    found = [history for history in read if len(history) > 1]
    if not found:
        raise InputError(
            f"{dataset.source}: no history holds two items with a text for an encoder to read; "
            f"add a title or text to the items"
        )
    return found


def _loss(
    model: Any,
    pairs: list[_Pair],
    texts: list[str],
    rng: np.random.Generator,
    scale: float,
) -> torch.Tensor:
    """Cross-entropy of each pair's answer among the answers of the batch, and the reverse."""
    answers = np.array([rng.choice(pair.answers) for pair in pairs])
    asked = _vectors(model, [pair.text for pair in pairs])
    items = _vectors(model, [texts[answer] for answer in answers])
    scores = scale * asked @ items.T
    right = np.stack([np.isin(answers, pair.right) for pair in pairs])
    np.fill_diagonal(right, False)
    scores = scores.masked_fill(torch.from_numpy(right).to(scores.device), -torch.inf)
    own = torch.arange(len(pairs), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def _vectors(model: Any, texts: list[str]) -> torch.Tensor:
    from sentence_transformers.util import batch_to_device

    read = batch_to_device(model.preprocess(texts), model.device)
    with torch.autocast(model.device.type, torch.bfloat16):
        made = model(read)["sentence_embedding"]
    return F.normalize(made.float(), dim=1)


def _copy(model: Any) -> Mapping[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
