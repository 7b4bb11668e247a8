"""A sentence encoder tuned on training queries and the texts of their answers.

In-batch negatives with masked false ones (Karpukhin et al., EMNLP 2020): the text of every other
answer in the batch is a wrong one, unless the query has it too.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import torch
from torch.nn import functional as F

from twofold import artifact
from twofold.encoders.sentence import SentenceEncoder
from twofold.records import Example
from twofold.tasks.examples import training_source
from twofold.tasks.prepared import PreparedDataset

KIND = "encoder"


class TuningConfig(pydantic.BaseModel):
    """How a bi-encoder is tuned."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    epochs: int = pydantic.Field(3, ge=1, description="passes over the queries, one answer each")
    batch: int = pydantic.Field(64, ge=2, description="pairs in a batch")
    learning_rate: float = pydantic.Field(5e-5, gt=0, description="its peak; AdamW")
    sharpness: float = pydantic.Field(20.0, gt=0, description="of scores over cosines")
    tokens: int = pydantic.Field(96, ge=8, description="of a text that training reads")


def tune_encoder(
    dataset: PreparedDataset,
    encoder: SentenceEncoder,
    out: Path,
    judge: Callable[[SentenceEncoder], float],
    config: TuningConfig | None = None,
    seed: int = 0,
) -> SentenceEncoder:
    """Tune `encoder` on the training queries of `dataset`; the best epoch stays, none included.

    Args:
        encoder: where to start; left as it is.
        out: the folder of the tuned model, as sentence-transformers writes it.
        judge: value of an encoder on validation, larger is better.
        config: by default as its fields say.
        seed: of the order and of the answers drawn.
    """
    from sentence_transformers import SentenceTransformer

    config = config or TuningConfig()
    examples = training_source(dataset, "search").examples
    model = SentenceTransformer(encoder.name, device="cpu")
    reads, model.max_seq_length = model.max_seq_length, config.tokens
    texts = dataset.catalog.texts
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    batches = -(-len(examples) // config.batch)
    best, kept = judge(encoder), _copy(model)
    for epoch in range(config.epochs):
        rng = np.random.default_rng([seed, epoch])
        torch.manual_seed(seed * 1_000_003 + epoch)
        model.train()
        for number, rows in enumerate(np.array_split(rng.permutation(len(examples)), batches)):
            done = (epoch * batches + number) / (config.epochs * batches)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * min(1.0, 10 * done + 0.01, 1.01 - done)
            loss = _loss(model, [examples[row] for row in rows], texts, rng, config.sharpness)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        model.max_seq_length = reads
        value = judge(SentenceEncoder(encoder.name, model))
        if value > best:
            best, kept = value, _copy(model)
        model.max_seq_length = config.tokens
    model.max_seq_length = reads
    model.load_state_dict(kept)
    with artifact.write(
        out, KIND, config.model_dump() | {"seed": seed, "start": encoder.name}
    ) as folder:
        model.save(str(folder))
    return SentenceEncoder.load(str(out))


def _loss(
    model: Any,
    examples: list[Example],
    texts: list[str],
    rng: np.random.Generator,
    sharpness: float,
) -> torch.Tensor:
    """Cross-entropy of each query's answer among the answers of the batch, and the reverse."""
    answers = np.array([rng.choice(example.targets) for example in examples])
    queries = _vectors(model, [example.query or "" for example in examples])
    items = _vectors(model, [texts[answer] for answer in answers])
    scores = sharpness * queries @ items.T
    right = torch.from_numpy(np.stack([np.isin(answers, e.targets) for e in examples]))
    own = torch.arange(len(examples))
    scores = scores.masked_fill(right & ~torch.eye(len(examples), dtype=torch.bool), -torch.inf)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def _vectors(model: Any, texts: list[str]) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        made = model(model.preprocess(texts))["sentence_embedding"]
    return F.normalize(made.float(), dim=1)


def _copy(model: Any) -> Mapping[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
