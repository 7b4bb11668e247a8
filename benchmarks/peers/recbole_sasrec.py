"""RecBole's SASRec, which trains in turns. Runs in an environment of its own:

    python -m venv recbole && recbole/bin/pip install torch recbole

Reads train.csv (user_id, item_id, order). As RecBole's sequential data, each example is the last
items before one event, padded, with that event as its one target; here examples are drawn at once
and the loading of data is not part of a step. Waits on standard input for a number of steps and
answers what they took, as `benchmarks/turns.py` asks for it: seconds of a step, supervised targets,
peak memory.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender.sasrec import SASRec

FIELDS = {
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "LIST_SUFFIX": "_list",
    "ITEM_LIST_LENGTH_FIELD": "item_length",
    "NEG_PREFIX": "neg_",
}
DEFAULTS = {
    "inner_size": 256,
    "attn_dropout_prob": 0.5,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "loss_type": "CE",
    "device": torch.device("cpu"),
}
"""What RecBole's SASRec has where nothing else is asked for."""


def drawn(
    histories: list[np.ndarray], length: int, size: int, rng: np.random.Generator
) -> Interaction:
    """A batch of examples; item 0 is padding."""
    items, lengths = np.zeros((size, length), np.int64), np.ones(size, np.int64)
    targets = np.zeros(size, np.int64)
    events = np.array([len(history) - 1 for history in histories])
    for row, user in enumerate(rng.choice(len(histories), size, p=events / events.sum())):
        place = int(rng.integers(1, len(histories[user])))
        before = histories[user][max(0, place - length) : place]
        items[row, : len(before)], lengths[row] = before, len(before)
        targets[row] = histories[user][place]
    columns = {"item_id_list": items, "item_length": lengths, "item_id": targets}
    return Interaction({name: torch.from_numpy(values) for name, values in columns.items()})


def main() -> None:
    """Train in turns."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    for name in ("width", "layers", "heads", "length", "batch", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dropout", type=float, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    events = pd.read_csv(arguments.data / "train.csv", dtype={"user_id": str, "item_id": str})
    numbers, items = pd.factorize(events["item_id"])
    grouped = pd.Series(numbers + 1).groupby(events["user_id"].to_numpy(), sort=False)
    histories = [own.to_numpy() for _, own in grouped if len(own) > 1]
    asked = {
        "n_layers": arguments.layers,
        "n_heads": arguments.heads,
        "hidden_size": arguments.width,
        "hidden_dropout_prob": arguments.dropout,
        "MAX_ITEM_LIST_LENGTH": arguments.length,
    }
    dataset = SimpleNamespace(num=lambda _: len(items) + 1)
    model = SASRec({**FIELDS, **DEFAULTS, **asked}, dataset).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    rng = np.random.default_rng(0)
    print("ready", flush=True)
    for line in sys.stdin:
        batches = [
            drawn(histories, arguments.length, arguments.batch, rng) for _ in range(int(line))
        ]
        start = time.process_time()
        for batch in batches:
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()
        answer = {
            "seconds": (time.process_time() - start) / len(batches),
            "targets": arguments.batch * len(batches),
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
