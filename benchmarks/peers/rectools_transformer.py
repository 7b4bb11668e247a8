"""RecTools' SASRec or BERT4Rec, one epoch at a time. Runs in an environment of its own:

    python -m venv peers && peers/bin/pip install torch "rectools[torch]"

Reads train.csv, validation.csv and test.csv (user_id, item_id, order), writes curve.json (epoch,
seconds of training, validation nDCG@10) and test.csv (user_id, item_id, rank): the best items that
the user has not had, as the epoch with the best validation ranks them. Seconds hold training alone.

--turns trains too, but waits on standard input for a number of steps and answers what they took,
as `benchmarks/turns.py` asks for it: seconds of a step, supervised targets, peak memory.
"""

import argparse
import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import seed_everything
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

MODELS = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}
K = 10


def read_events(path: Path) -> pd.DataFrame:
    """A table in the columns that RecTools knows."""
    frame = pd.read_csv(path, dtype={"user_id": str, "item_id": str})
    frame.columns = [Columns.User, Columns.Item, Columns.Datetime]
    frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
    return frame.assign(**{Columns.Weight: 1.0})


def ndcg(ranked: pd.DataFrame, right: pd.DataFrame) -> float:
    """Mean nDCG@10 with one right item a user."""
    hits = ranked.merge(right[[Columns.User, Columns.Item]], on=[Columns.User, Columns.Item])
    return float((1 / np.log2(hits[Columns.Rank] + 1)).sum() / len(right))


def recommend(model: Any, asked: pd.DataFrame, known: Dataset, k: int) -> pd.DataFrame:
    """The `k` best items for each user of a table, without the items that the user has had."""
    return model.recommend(
        asked[Columns.User].unique(),
        known,
        k=k,
        filter_viewed=True,
        on_unsupported_targets="ignore",
    )


class Turns:
    """Holds a training until steps are asked for, and answers what they took."""

    def begin(self, *_: Any) -> None:
        """Wait for the first turn."""
        print("ready", flush=True)
        self._wait()

    def _wait(self) -> None:
        line = sys.stdin.readline()
        if not line:  # nobody asks any more
            os._exit(0)
        self._asked = self._left = int(line)
        self._targets, self._start = 0, time.process_time()

    def count(self, *given: Any) -> None:
        """Count a step, whose batch is the fourth argument; padding is no target."""
        self._targets += int((given[3]["y"] != 0).sum())
        self._left -= 1
        if not self._left:
            answer = {
                "seconds": (time.process_time() - self._start) / self._asked,
                "targets": self._targets,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            print(json.dumps(answer), flush=True)
            self._wait()


def trainer_in_turns() -> Trainer:
    """RecTools' trainer, with turns and without an end."""
    turns = Turns()
    return Trainer(
        max_epochs=-1,
        deterministic=True,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[LambdaCallback(on_train_start=turns.begin, on_train_batch_end=turns.count)],
    )


def make_model(arguments: argparse.Namespace) -> Any:
    """The model that is asked for, untrained."""
    return MODELS[arguments.model](
        n_blocks=arguments.layers,
        n_heads=arguments.heads,
        n_factors=arguments.width,
        session_max_len=arguments.length,
        dropout_rate=arguments.dropout,
        loss="softmax",
        deterministic=True,
        recommend_torch_device="cpu",
        recommend_n_threads=arguments.threads,
        get_trainer_func=trainer_in_turns if arguments.turns else None,
    )


def train(model: Any, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Train epoch by epoch, answer the test whenever validation is better; returns the curve."""
    events = {n: read_events(arguments.data / f"{n}.csv") for n in ("train", "validation", "test")}
    validation = events["validation"]
    known = Dataset.construct(events["train"])
    later = Dataset.construct(pd.concat([events["train"], validation]))
    users = validation[validation[Columns.User].isin(set(events["train"][Columns.User]))]
    curve, seconds, best = [], 0.0, -1.0
    for epoch in range(1, arguments.epochs + 1):
        start = time.perf_counter()
        model.fit_partial(known, min_epochs=1, max_epochs=1)
        seconds += time.perf_counter() - start
        value = ndcg(recommend(model, users, known, K), validation)
        curve.append({"epoch": epoch, "seconds": seconds, "value": value})
        print(json.dumps(curve[-1]), flush=True)
        if value > best:
            best = value
            ranked = recommend(model, events["test"], later, arguments.items)
            columns = [Columns.User, Columns.Item, Columns.Rank]
            ranked[columns].to_csv(arguments.out / "test.csv", index=False)
    return curve


def main() -> None:
    """Train, validate after every epoch, answer the test."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=list(MODELS), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    for name in ("epochs", "width", "layers", "heads", "length", "seed", "threads", "items"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dropout", type=float, required=True)
    parser.add_argument("--turns", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    seed_everything(arguments.seed)
    if arguments.turns:
        make_model(arguments).fit(Dataset.construct(read_events(arguments.data / "train.csv")))
    arguments.out.mkdir(parents=True, exist_ok=True)
    curve = train(make_model(arguments), arguments)
    (arguments.out / "curve.json").write_text(json.dumps(curve), encoding="utf-8")


if __name__ == "__main__":
    main()
