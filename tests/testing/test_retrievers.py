"""The contracts have teeth: a broken promise fails the test of that promise, and no other fails."""

import re
import subprocess
import sys
from pathlib import Path

RETRIEVERS = '''
from twofold import Ranking, Run
from twofold.testing import RetrieverContract


class Sorted:
    """Keeps the contract: every item with one score, in the order of ties."""

    name = "sorted"

    def __init__(self, dataset):
        self.item_ids = sorted(dataset.catalog.item_ids, reverse=True)

    def retrieve(self, requests, k):
        return Run(self.name, {r.request_id: self.rank(r, k) for r in requests})

    def rank(self, request, k):
        kept = [i for i in self.item_ids if i not in request.exclude][:k]
        return Ranking(tuple(kept), (1.0,) * len(kept))


class BreaksTies(Sorted):
    def __init__(self, dataset):
        self.item_ids = sorted(dataset.catalog.item_ids)


class ForgetsExclusions(Sorted):
    def rank(self, request, k):
        return Ranking(tuple(self.item_ids[:k]), (1.0,) * len(self.item_ids[:k]))


class LeavesItemsOut(Sorted):
    def __init__(self, dataset):
        self.item_ids = sorted(dataset.catalog.item_ids, reverse=True)[:20]


class CountsTheOthers(Sorted):
    def retrieve(self, requests, k):
        return super().retrieve(requests, k - len(requests) + 1)


class AnswersNobody(Sorted):
    def retrieve(self, requests, k):
        return super().retrieve(requests, k) if requests else Run(self.name, {"r": None})


for cls in (Sorted, *Sorted.__subclasses__()):
    make = lambda self, dataset, cls=cls: cls(dataset)
    name = f"Test{cls.__name__}"
    globals()[name] = type(name, (RetrieverContract,), {"make": make})
'''


def test_each_broken_promise_fails_its_own_test(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(RETRIEVERS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    failed = set(re.findall(r"^FAILED test_mine.py::(\w+)::(\w+)", done.stdout, re.M))
    assert failed == {
        ("TestBreaksTies", "test_every_request_has_a_ranking_in_order"),
        (
            "TestForgetsExclusions",
            "test_what_is_excluded_does_not_come_back_and_the_rest_keeps_its_order",
        ),
        ("TestLeavesItemsOut", "test_an_answer_is_empty_or_ranks_the_whole_catalog"),
        ("TestCountsTheOthers", "test_other_requests_do_not_change_an_answer"),
        ("TestAnswersNobody", "test_no_requests_give_an_empty_run"),
    }, done.stdout
    assert "Left contains 4 more items" in done.stdout, "a failed assertion shows its values"
