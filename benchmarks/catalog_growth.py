"""The time and the memory of a training step against the size of the catalog.

    python benchmarks/catalog_growth.py [--sizes 1000 10000 100000 1000000] [--rounds 5]
        [--threads 1] [--most 100000] [--out DIR] [--publish NAME]

Histories over made catalogs of atomic identifiers train a decoder of size `small`. The ways to
compute the loss take turns, each in a process of its own: `full` is cross-entropy over a matrix of
all scores, `chunked` the same loss without that matrix, `dense` and `sparse` are the sampled
softmax with each kind of gradient for the item embeddings. At last the way that `twofold train`
chooses by itself takes turns between the sizes. Times are processor times, as other work on the
machine must not decide; a process's peak of memory holds 300 MB of Python and torch. The share of
the peak is that of the matrix products of blocks and loss at the rate of a large bfloat16 product.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from publish import add_publish_option, publish_records
from torch.nn import functional as F
from train import peaks
from turns import Worker

from twofold.identifiers.identifiers import atomic, shared
from twofold.model.backbone import autocast
from twofold.model.encoded import Batch, EncodedExamples
from twofold.model.fresh import fresh_backbone
from twofold.model.vocabulary import fresh_vocabulary, train_tokenizer
from twofold.training.config import resolve_config
from twofold.training.loss import CodeLoss, Targets
from twofold.training.optimizer import Average, RowWiseAdamW, clip_gradients, optimizer_of
from twofold.training.state import Progress
from twofold.training_examples import Example

WAYS = ("full", "chunked", "dense", "sparse")
HISTORY, IN_BATCH, EXAMPLES = 50, 20, 200
"""A batch of 20 histories of 50 items has 1,000 contexts."""
STEPS = 4
"""The steps of a round."""
CPU = torch.device("cpu")


def whole_matrix(states: torch.Tensor, embeddings: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Cross-entropy as torch has it."""
    scores = states[targets.contexts] @ embeddings.T
    each = F.cross_entropy(scores, targets.codes, reduction="none")
    return (targets.weights * each).sum()


class Training:
    """A training over a made catalog, whose steps are timed part by part.

    Args:
        items: the size of the catalog.
        way: one of `WAYS`, or `auto` for that of the defaults.
    """

    def __init__(self, items: int, way: str) -> None:
        self._rng = np.random.default_rng(0)
        self.config = resolve_config()
        spaces = shared(atomic(items))
        self.vocabulary = fresh_vocabulary(train_tokenizer([], 256), spaces, HISTORY, 0)
        self.backbone = fresh_backbone("decoder:small", self.vocabulary, 0.1, seed=0).train()
        popularity = np.arange(1, items + 1) ** -0.8
        popularity /= popularity.sum()
        self._examples = self._made(popularity)
        limit = {"auto": self.config.full_softmax_max_codes, "chunked": items}.get(way, 0)
        is_full = way == "full" or items <= limit
        self._scored = items if is_full else self.config.num_negatives
        self.loss: Any = CodeLoss(
            torch.from_numpy(popularity),
            spaces.codebooks,
            limit=limit,
            negatives=self.config.num_negatives,
            product=torch.bfloat16,
            sparse=way != "dense",
        )
        tables = []
        if way == "full":
            self.loss = whole_matrix
        elif self.loss.is_sparse:
            self.backbone.read_sparsely()
            decay, averaging = self.config.weight_decay, self.config.averaging
            tables = [RowWiseAdamW(t, decay, averaging) for t in self.backbone.embedding_tables()]
        self._optimizer = optimizer_of(self.backbone, self.config, tables)
        self._optimizer.learning_rate = self.config.learning_rate
        self._average = Average(self.backbone, self.config.averaging, tables)
        self._progress = Progress()

    def _made(self, popularity: np.ndarray) -> EncodedExamples:
        """Histories of items drawn by popularity, each item the target of those before it."""
        drawn = np.searchsorted(popularity.cumsum(), self._rng.random((EXAMPLES, HISTORY + 1)))
        items = np.minimum(drawn, len(popularity) - 1)
        visible = np.arange(1, HISTORY + 1)
        examples = (
            Example(history=row[:-1], query=None, targets=row[1:], visible=visible) for row in items
        )
        return EncodedExamples.of(e for one in examples for e in self.vocabulary.encode(one))

    def step(self) -> dict[str, float]:
        """One step; the loss, the seconds of each part, and the operations of its products."""
        rows = self._rng.choice(EXAMPLES, IN_BATCH, replace=False)
        batch = self.vocabulary.collate(self._examples.take(rows))
        torch.manual_seed(self._progress.step)
        times = [time.process_time()]
        with autocast(CPU, "bfloat16"):
            states, embeddings = self.backbone(batch)
        targets = Targets(
            contexts=batch.target_contexts,
            codes=batch.targets,
            weights=batch.weights / len(batch.targets),
            codebooks=batch.context_codebooks,
            items=batch.context_items,
        )
        loss = self.loss(states, embeddings, targets)
        times.append(time.process_time())
        self._optimizer.zero_grad()
        loss.backward()
        times.append(time.process_time())
        clip_gradients(list(self.backbone.parameters()), self.config.max_grad_norm)
        self._optimizer.step()
        self._progress.step += 1
        self._average.update(self._progress)
        times.append(time.process_time())
        parts = dict(zip(("forward", "backward", "optimizer"), np.diff(times), strict=True))
        seconds = {**parts, "step": times[-1] - times[0]}
        return {"loss": float(loss.detach()), **seconds, "operations": self._operations(batch)}

    def _operations(self, batch: Batch) -> float:
        """Those of the matrix products of blocks and loss, forward and backward."""
        named = self.backbone.named_parameters()
        blocks = sum(weight.numel() for name, weight in named if ".layers." in name)
        width = self.backbone.output_embeddings().shape[1]
        return 6.0 * (len(batch.token_indices) * blocks + len(batch.targets) * self._scored * width)


def work(items: int, way: str) -> None:
    """Answer on standard output what some steps took; a line with a number asks for them."""
    training = Training(items, way)
    print("ready", flush=True)
    for line in sys.stdin:
        steps = [training.step() for _ in range(int(line))]
        means = {part: statistics.mean(step[part] for step in steps) for part in steps[0]}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**means, "peak": peak}), flush=True)


def training_of(items: int, way: str, threads: int) -> Worker:
    """A training in a process of its own."""
    script = [__file__, "--work", str(items), way, "--threads", str(threads)]
    return Worker(script, f"{items} items, {way}", threads)


def compare(
    cases: list[tuple[int, str]], rounds: int, threads: int, peak: float
) -> list[dict[str, Any]]:
    """A record of each case, which take turns; ratios are to the step of the first.

    Args:
        cases: the items and the way of each.
        rounds: how often each takes its turn.
        threads: CPU threads.
        peak: the operations a second of a large product.
    """
    workers = [training_of(items, way, threads) for items, way in cases]
    for worker in workers:
        worker.take(2)
    taken = [[worker.take(STEPS) for worker in workers] for _ in range(rounds)]
    for worker in workers:
        worker.end()
    records = []
    for number, (items, way) in enumerate(cases):
        own = [each[number] for each in taken]
        ratios = sorted(each[number]["step"] / each[0]["step"] for each in taken)
        parts = ("forward", "backward", "optimizer", "step")
        medians = {part: statistics.median(o[part] for o in own) for part in parts}
        records.append(
            {
                "items": items,
                "loss": way,
                **{f"{part}, ms": 1e3 * seconds for part, seconds in medians.items()},
                "times the first row's step": [statistics.median(ratios), ratios[0], ratios[-1]],
                "peak memory, MB": own[-1]["peak"],
                "share of the peak": own[-1]["operations"] / medians["step"] / peak,
            }
        )
        print(json.dumps(records[-1]), flush=True)
    return records


def main() -> None:
    """Compare the ways and the sizes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**n for n in (3, 4, 5, 6)])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--most", type=int, default=100_000, help="the largest catalog that all codes are scored of"
    )
    parser.add_argument("--out", type=Path, default=Path("out/catalog-growth"))
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    add_publish_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.work:
        work(int(arguments.work[0]), arguments.work[1])
        return
    peak = 1e9 * peaks()["bfloat16, 1024 x 1024 x 1024"]
    records = []
    for items in arguments.sizes:
        ways = WAYS if items <= arguments.most else WAYS[2:]
        cases = [(items, way) for way in reversed(ways)]
        records += compare(cases, arguments.rounds, arguments.threads, peak)
    # The first, to which the others are compared, is the largest with a full softmax.
    limit = resolve_config().full_softmax_max_codes
    sizes = sorted(arguments.sizes, key=lambda items: (items > limit, -items))
    by_itself = [(items, "auto") for items in sizes]
    chosen = compare(by_itself, arguments.rounds, arguments.threads, peak)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {"ways": records, "by itself": chosen}
    (arguments.out / "catalog_growth.json").write_text(json.dumps(found, indent=1) + "\n")
    protocol = (
        f"decoder of size small, bfloat16, 1,000 contexts a step, "
        f"{resolve_config().num_negatives:,} negatives where sampled; "
        f"{arguments.threads} threads, processor time, {arguments.rounds} rounds of {STEPS} steps "
        "in turn, other work on the machine"
    )
    publish_records(
        arguments.publish,
        "catalog-growth",
        "A step of training against the size of the catalog",
        records + [{**record, "loss": "as chosen by train"} for record in chosen],
        seeds="one",
        protocol=protocol,
    )


if __name__ == "__main__":
    main()
