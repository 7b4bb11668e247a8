"""An evaluation on a Ray cluster: the same scores, from other processes."""

from pathlib import Path

import pytest
import ray

from tests.commands import mistake, run_here
from tests.fixtures.requests import made_requests
from twofold.cluster.connection import connected
from twofold.cluster.evaluate import RayRetriever
from twofold.records import InputError
from twofold.retrieval.generative import GenerativeRetriever
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import save_dataset


def test_an_evaluation_has_the_scores_of_one_machine(
    cluster: str, model_folder: Path, catalog: PreparedDataset, tmp_path: Path
) -> None:
    save_dataset(catalog, tmp_path / "prepared")
    asked = [model_folder, tmp_path / "prepared", "--out"]
    alone = run_here("evaluate", *asked, tmp_path / "alone")
    there = run_here("cluster", "evaluate", *asked, tmp_path / "there", "--address", cluster)
    assert there.returncode == 0, there.stderr
    assert there.stdout == alone.stdout
    files = sorted(path.name for path in (tmp_path / "alone").iterdir())
    assert "recommendation.trec" in files
    for name in set(files) - {"manifest.json"}:
        own = (tmp_path / "there" / name).read_bytes()
        assert own == (tmp_path / "alone" / name).read_bytes(), name
    again = mistake("cluster", "evaluate", *asked, tmp_path / "there", "--address", cluster)
    assert "exists" in again


def test_many_requests_are_answered_by_all_workers_though_one_is_killed(
    cluster: str, model_folder: Path, retriever: GenerativeRetriever
) -> None:
    requests = made_requests(retriever, 900)
    with connected(cluster):
        spread = RayRetriever(retriever, model_folder, workers=2)
        ray.kill(spread._workers[0], no_restart=False)
        assert spread.retrieve(requests, 10) == retriever.retrieve(requests, 10)


def test_a_machine_without_the_model_is_named(
    cluster: str, retriever: GenerativeRetriever, tmp_path: Path
) -> None:
    with connected(cluster):
        spread = RayRetriever(retriever, tmp_path / "nothing", workers=1)
        with pytest.raises(InputError, match=r"^machine .* of the cluster: .*no such folder") as no:
            spread.retrieve(made_requests(retriever, 1), 10)
        assert type(no.value) is InputError
        with pytest.raises(InputError, match=r"no machine of the cluster has .*3 of CPU"):
            RayRetriever(retriever, tmp_path, threads=3)
