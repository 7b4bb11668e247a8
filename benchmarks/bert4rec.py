"""RecTools' BERT4Rec as one more baseline in a folder of `quality.py`.

    python benchmarks/bert4rec.py DATASET --peer peers/bin/python --out DIR [--epochs 25]
    python benchmarks/quality.py table DIR

Width, depth and heads of the size `small`, the last `--length` events of each history; of
`--epochs` passes the one with the best validation nDCG@10 answers the test. It runs in an
environment of its own (see peers/rectools_transformer.py).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sasrec import answered, export, interactions_alone, theirs

from twofold.baselines.selection import Baseline, Chosen
from twofold.evaluation.measures import PRIMARY
from twofold.records import Ranking, Request, Run
from twofold.studies.study import run_baselines
from twofold.tasks.storage import load_dataset


class Answered:
    """Answers that were given elsewhere; a request without one gets no item."""

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self._run = run

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`."""
        known = self._run.rankings
        found = {r.request_id: known.get(r.request_id, Ranking((), ())) for r in requests}
        cut = {name: Ranking(each.item_ids[:k], each.scores[:k]) for name, each in found.items()}
        return Run(self.name, cut)


def main() -> None:
    """Train, and score beside the others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--peer", required=True, help="the python of an environment with RecTools")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.dataset)
    place = arguments.out / "baselines" / "bert4rec"

    def make() -> Chosen:
        export(interactions_alone(dataset), place.parent / "data")
        theirs(place, arguments.seed, arguments, "bert4rec", PRIMARY.k)
        settings = {"epochs": arguments.epochs, "length": arguments.length, "seed": arguments.seed}
        return Chosen(Answered("BERT4Rec", answered(place)), settings, arguments.epochs)

    run_baselines(dataset, arguments.out, iter([Baseline("recommendation", "BERT4Rec", make)]))


if __name__ == "__main__":
    main()
