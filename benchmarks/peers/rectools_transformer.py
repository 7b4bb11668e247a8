"""RecTools' SASRec or BERT4Rec, one epoch at a time. Runs in an environment of its own:

    python -m venv peers && peers/bin/pip install torch "rectools[torch]"

Reads train.csv, validation.csv and test.csv (user_id, item_id, order), writes curve.json (epoch,
seconds of training, validation nDCG@10) and test.csv (user_id, item_id, rank): the best items that
the user has not had, as the epoch with the best validation ranks them. Seconds hold training alone.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

MODELS = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}
K = 10


def events(path: Path) -> pd.DataFrame:
    """A table in the columns that RecTools knows."""
    frame = pd.read_csv(path, dtype={"user_id": str, "item_id": str})
    frame.columns = [Columns.User, Columns.Item, Columns.Datetime]
    frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
    return frame.assign(**{Columns.Weight: 1.0})


def ndcg(found: pd.DataFrame, right: pd.DataFrame) -> float:
    """Mean nDCG@10 with one right item a user."""
    hits = found.merge(right[[Columns.User, Columns.Item]], on=[Columns.User, Columns.Item])
    return float((1 / np.log2(hits[Columns.Rank] + 1)).sum() / len(right))


def answers(model: Any, asked: pd.DataFrame, known: Dataset, k: int) -> pd.DataFrame:
    """The `k` best items for each user of a table, those he had left out."""
    return model.recommend(
        asked[Columns.User].unique(),
        known,
        k=k,
        filter_viewed=True,
        on_unsupported_targets="ignore",
    )


def main() -> None:
    """Train, look at validation after every epoch, answer the test."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=list(MODELS), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    for name in ("epochs", "width", "layers", "heads", "length", "seed", "threads", "items"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dropout", type=float, required=True)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    seed_everything(arguments.seed)
    train = events(arguments.data / "train.csv")
    validation = events(arguments.data / "validation.csv")
    test = events(arguments.data / "test.csv")
    model = MODELS[arguments.model](
        n_blocks=arguments.layers,
        n_heads=arguments.heads,
        n_factors=arguments.width,
        session_max_len=arguments.length,
        dropout_rate=arguments.dropout,
        loss="softmax",
        deterministic=True,
        recommend_torch_device="cpu",
        recommend_n_threads=arguments.threads,
    )
    known = Dataset.construct(train)
    later = Dataset.construct(pd.concat([train, validation]))
    users = validation[validation[Columns.User].isin(set(train[Columns.User]))]
    curve, seconds, best = [], 0.0, -1.0
    arguments.out.mkdir(parents=True, exist_ok=True)
    for epoch in range(1, arguments.epochs + 1):
        start = time.perf_counter()
        model.fit_partial(known, min_epochs=1, max_epochs=1)
        seconds += time.perf_counter() - start
        value = ndcg(answers(model, users, known, K), validation)
        curve.append({"epoch": epoch, "seconds": seconds, "value": value})
        print(json.dumps(curve[-1]), flush=True)
        if value > best:
            best = value
            found = answers(model, test, later, arguments.items)
            columns = [Columns.User, Columns.Item, Columns.Rank]
            found[columns].to_csv(arguments.out / "test.csv", index=False)
    (arguments.out / "curve.json").write_text(json.dumps(curve), encoding="utf-8")


if __name__ == "__main__":
    main()
