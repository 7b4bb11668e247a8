"""RecTools' models as a peer: the split that they read, their run, the answers that they wrote.

RecBole's SASRec is a peer in speed alone. A peer runs in an environment of its own (see the scripts
of peers/) and knows nothing of this library; files are all that the two share.
"""

import dataclasses
import subprocess
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from turns import Worker

from twofold.records import Ranking, Run
from twofold.tasks.prepared import PreparedDataset

SCRIPT = Path(__file__).parent / "peers" / "rectools_transformer.py"
SHAPE = {"width": 128, "layers": 2, "heads": 2}
"""That of our size `small`."""


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What one run of the peer is asked for.

    Attributes:
        python: the interpreter of the peer's environment.
        model: `sasrec` or `bert4rec`.
        items: the number of items in each answer.
        length: the number of last events of a history that are read.
    """

    python: str
    model: str
    items: int
    epochs: int
    length: int
    dropout: float
    seed: int
    threads: int


def without_queries(dataset: PreparedDataset) -> PreparedDataset:
    """The dataset without queries, so that an epoch is one of histories."""
    return dataset.with_tables(queries=dataset.queries.clear(), qrels=dataset.qrels.clear())


def write_split(dataset: PreparedDataset, folder: Path) -> None:
    """Write the split as the peer reads it; the order of events is their time."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = dataset.interactions.select(
        "user_id", "item_id", "split", order=pl.int_range(pl.len()).over("user_id")
    )
    for split in ("train", "validation", "test"):
        rows = ordered.filter(pl.col("split") == split).drop("split")
        rows.write_csv(folder / f"{split}.csv")


def run_peer(data: Path, out: Path, wanted: PeerRun) -> None:
    """Run the peer, unless it has finished before."""
    if (out / "curve.json").is_file():
        return
    subprocess.run([wanted.python, *_script(data, out, wanted)], check=True)


def peer_in_turns(data: Path, out: Path, wanted: PeerRun) -> Worker:
    """The peer's training, which waits for its turns."""
    script = [*_script(data, out, wanted), "--turns"]
    return Worker(script, f"RecTools' {wanted.model}", wanted.threads, python=wanted.python)


def recbole_in_turns(data: Path, wanted: PeerRun) -> Worker:
    """RecBole's SASRec of the same shape, which waits for its turns.

    Its default of 2,048 sequences a batch takes four times the memory.
    """
    script = [str(SCRIPT.with_name("recbole_sasrec.py")), "--data", str(data)]
    options = {**SHAPE, "length": wanted.length, "batch": 512, "dropout": wanted.dropout}
    options["threads"] = wanted.threads
    script += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return Worker(script, "RecBole's SASRec", wanted.threads, python=wanted.python)


def _script(data: Path, out: Path, wanted: PeerRun) -> list[str]:
    """The peer's script and its arguments."""
    options = {**SHAPE, **dataclasses.asdict(wanted)}
    del options["python"]
    named = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return [str(SCRIPT), "--data", str(data), "--out", str(out), *named]


def read_answers(folder: Path) -> Run:
    """The answers to the test requests that a run left in its folder."""
    answers = pl.read_csv(folder / "test.csv", schema_overrides={"user_id": pl.String})
    answers = answers.with_columns(pl.col("item_id").cast(pl.String)).sort("user_id", "rank")
    rankings = {
        user: Ranking(tuple(items), tuple(-float(n) for n in range(len(items))))
        for user, items in answers.group_by("user_id").agg("item_id").iter_rows()
    }
    return Run(folder.name, rankings)
