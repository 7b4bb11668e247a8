"""RecTools' BERT4Rec as one more baseline in a folder of `quality.py`.

    python benchmarks/bert4rec.py DATASET --peer peers/bin/python --out DIR [--epochs 25]
    python benchmarks/quality.py table DIR

Width, depth and heads are those of the size `small`; the model reads the last `--length` events of
each history. Of `--epochs` epochs the one with the best validation nDCG@10 answers the test. It
runs in an environment of its own (see peers/rectools_transformer.py).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rectools_peer import PeerRun, read_answers, run_peer, without_queries, write_split

from twofold.baselines.selection import Baseline, Chosen
from twofold.evaluation.measures import PRIMARY
from twofold.records import Ranking, Request, Run
from twofold.studies.folder import StudyFolder
from twofold.studies.trainings.baselines import run_baselines
from twofold.tasks.storage import load_dataset


class StoredAnswers:
    """A retriever of answers that were computed elsewhere; a request without one gets no item."""

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self._run = run

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`."""
        stored = self._run.rankings
        rankings = {r.request_id: stored.get(r.request_id, Ranking((), ())) for r in requests}
        return Run(
            self.name,
            {name: Ranking(r.item_ids[:k], r.scores[:k]) for name, r in rankings.items()},
        )


def main() -> None:
    """Train, and score with the other baselines."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--peer", required=True, help="the python of an environment with RecTools")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--length", type=int, default=50, help="last events of a history")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.dataset)
    place = arguments.out / "baselines" / "bert4rec"
    wanted = PeerRun(
        python=arguments.peer,
        model="bert4rec",
        items=PRIMARY.k,
        epochs=arguments.epochs,
        length=arguments.length,
        dropout=arguments.dropout,
        seed=arguments.seed,
        threads=arguments.threads,
    )

    def make() -> Chosen:
        write_split(without_queries(dataset), place.parent / "data")
        run_peer(place.parent / "data", place, wanted)
        settings = {"epochs": arguments.epochs, "length": arguments.length, "seed": arguments.seed}
        answers = StoredAnswers("BERT4Rec", read_answers(place))
        return Chosen(answers, settings, arguments.epochs)

    baseline = Baseline("recommendation", "BERT4Rec", make)
    run_baselines(dataset, StudyFolder(arguments.out), iter([baseline]))


if __name__ == "__main__":
    main()
