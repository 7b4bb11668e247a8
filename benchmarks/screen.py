"""One change of the recipe on a fixed draw of users, judged on validation: minutes, not hours.

    python benchmarks/screen.py DATASET [KEY=VALUE ...] [--users 1500] [--threads 1]

Trains the recommendation arm on the drawn users (full catalog, no queries) with the preset
`standard` changed by the settings, and prints the best validation nDCG@10 of those users, the
processor time, and the value of every validation. Test data are not touched.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset
from twofold.training.config import resolve_config
from twofold.training.train import train

_DRAW_SEED = 7


def draw_users(dataset: PreparedDataset, users: int) -> PreparedDataset:
    """The interactions of `users` users, the same ones every time, and no queries."""
    names = sorted(dataset.interactions["user_id"].unique().to_list())
    size = min(users, len(names))
    kept = np.random.default_rng(_DRAW_SEED).choice(names, size, replace=False).tolist()
    return dataset.with_tables(
        interactions=dataset.interactions.filter(pl.col("user_id").is_in(kept)),
        queries=dataset.queries.clear(),
        qrels=dataset.qrels.clear(),
    )


def main() -> None:
    """Train once and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--users", type=int, default=1500, help="number of drawn users")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(arguments.threads)
    dataset = draw_users(load_dataset(arguments.dataset), arguments.users)
    common = {"epochs": 4, "max_validation_requests": arguments.users, "patience": 9}
    config = resolve_config("standard", None, tuple(arguments.settings), base=common)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = train(dataset, "recommendation", out=Path(folder) / "model", config=config).model
    seconds = time.process_time() - start
    stamp = model.stamp
    validations = " ".join(f"{point['value']:.4f}" for point in stamp.curve)
    print(
        f"{' '.join(arguments.settings)}: {stamp.best_value:.4f} at step "
        f"{stamp.best_step} of {stamp.max_steps}, {seconds:.0f} s; {validations}"
    )


if __name__ == "__main__":
    main()
