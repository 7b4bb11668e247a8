"""Our measures and files against ir-measures (trec_eval), on random runs with ties."""

from pathlib import Path

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, Qrel, R, ScoredDoc, Success, nDCG

from twofold.evaluation.measures import Measure, score
from twofold.evaluation.runs import rank, read_run, write_qrels, write_run
from twofold.records import Run

# ir-measures names trec_eval's recall R. Its RR with a cutoff comes from the MS MARCO script,
# which breaks ties by the order of the file; so ours is held against trec_eval's RR, without a
# cutoff, where there are ties, and against both where there are none.
PAIRS = {
    "Recall@5": R @ 5,
    "Recall@30": R @ 30,
    "nDCG@10": nDCG @ 10,
    "RR@100": RR,
    "Success@3": Success @ 3,
}


def _random(seed: int, ties: bool = True) -> tuple[Run, dict[str, dict[str, int]]]:
    rng = np.random.default_rng(seed)
    items = [str(n) for n in rng.permutation(1000)[:60]]
    rankings, qrels = {}, {}
    for request in range(40):
        # Few distinct scores: nearly every rank is decided by a tie.
        levels = 4 if ties else 10**6
        scores = rng.integers(0, levels, len(items)).astype(np.float32) / np.float32(3)
        answered = int(rng.integers(1, 45))
        pairs = zip(items[:answered], scores.tolist(), strict=False)
        rankings[f"q{request}"] = rank(pairs)
        relevant = rng.choice(len(items), int(rng.integers(1, 8)), replace=False)
        qrels[f"q{request}"] = {items[n]: int(rng.integers(1, 4)) for n in relevant}
    return Run("made", rankings), qrels


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [True, False])
def test_measures_are_equal(seed: int, ties: bool) -> None:
    run, qrels = _random(seed, ties)
    pairs = PAIRS if ties else {**PAIRS, "RR@10": RR @ 10}
    judged = [Qrel(q, i, grade) for q, items in qrels.items() for i, grade in items.items()]
    docs = [
        ScoredDoc(q, item, value)
        for q in run
        for item, value in zip(run[q].item_ids, run[q].scores, strict=True)
    ]
    theirs = {
        (str(metric.query_id), str(metric.measure)): metric.value
        for metric in ir_measures.iter_calc(list(pairs.values()), judged, docs)
    }
    ours = score(run, qrels, [Measure.parse(name) for name in pairs])
    assert ours.height == 40 * len(pairs)
    for request_id, name, value in ours.iter_rows():
        assert value == pytest.approx(theirs[request_id, str(pairs[name])], abs=1e-9), name


def test_a_written_run_has_our_ranks_there(tmp_path: Path) -> None:
    run, qrels = _random(9)
    write_run(run, tmp_path / "run")
    write_qrels(qrels, tmp_path / "qrels")
    theirs = {
        str(metric.query_id): metric.value
        for metric in ir_measures.iter_calc(
            [nDCG @ 10],
            ir_measures.read_trec_qrels(str(tmp_path / "qrels")),
            ir_measures.read_trec_run(str(tmp_path / "run")),
        )
    }
    again = read_run(tmp_path / "run")
    assert all(again[q].item_ids == run[q].item_ids for q in run)
    for request_id, _, value in score(run, qrels, [Measure("nDCG", 10)]).iter_rows():
        assert value == pytest.approx(theirs[request_id], abs=1e-9)
