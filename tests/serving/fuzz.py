"""Requests that the schema allows, and many that it does not: none may make the server fail.

    python -m tests.serving.fuzz [--cases 10000] [--model FOLDER] [--seed 0]

Fails with the request that was answered with a status of 500 or above.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.serving.processes import COMMAND, Server, running

_NO_MODE = {"/health", "/ready", "/models", "/metrics"}


def fuzz(server: Server, cases: int, start: int = 0, known: Sequence[str] = ()) -> Counter[int]:
    """Answers by status, of so many requests spread over all routes.

    Args:
        server: what is asked, over its socket.
        cases: how many requests.
        start: the seed.
        known: ids of items that requests name now and then, so that they get past the checks.
    """
    _, described = server.ask("/openapi.json")
    schema = schemathesis.openapi.from_dict(described)
    operations: list[Any] = [each.ok() for each in schema.get_all_operations()]  # type: ignore[union-attr]
    seen: Counter[int] = Counter()
    with requests.Session() as session:
        for number, operation in enumerate(operations):
            share = _share(operations, operation, cases)
            ask = partial(_call, f"http://127.0.0.1:{server.port}", session, seen)
            _try(operation, share, start + number, known, ask)
    return seen


def _call(url: str, session: requests.Session, seen: Counter[int], case: Any) -> None:
    answer = case.call(base_url=url, session=session, timeout=60)
    seen[answer.status_code] += 1
    assert answer.status_code < 500, f"{answer.status_code}: {case.as_curl_command()}"


def _share(operations: list[Any], operation: Any, cases: int) -> int:
    """Routes without anything to vary get few of the cases."""
    plain = sum(each.path in _NO_MODE for each in operations)
    if operation.path in _NO_MODE:
        return 5
    return -(-(cases - 5 * plain) // (len(operations) - plain))


def _try(
    operation: Any, cases: int, start: int, known: Sequence[str], call: Callable[[Any], None]
) -> None:
    modes = [schemathesis.GenerationMode.POSITIVE]
    if operation.path not in _NO_MODE:
        modes.append(schemathesis.GenerationMode.NEGATIVE)

    @seed(start)
    @settings(
        max_examples=cases,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(*(operation.as_strategy(generation_mode=m) for m in modes)), st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        if known:
            _name_items(case, known, data)
        call(case)

    ask()


def _name_items(case: Any, known: Sequence[str], data: st.DataObject) -> None:
    """Half of the requests name items that there are."""
    if not data.draw(st.booleans()):
        return
    item, body = st.sampled_from(known), case.body
    if isinstance(body, dict):
        for name in ("history", "exclude", "candidates", "item_ids"):
            if isinstance(body.get(name), list):
                body[name] = data.draw(st.lists(item, min_size=1, max_size=5))
        if "item_id" in body:
            body["item_id"] = data.draw(item)
        if "model" in body:
            body["model"] = None
    if case.path_parameters and "item_id" in case.path_parameters:
        case.path_parameters["item_id"] = data.draw(item)


def _server(folder: Path, model: Path | None) -> AbstractContextManager[Server]:
    if model is None:
        return running(folder)
    options = ("--state", folder / "state", "--port", 0, "--threads", 1)
    return running(folder, COMMAND, "serve", model, *options)


def main() -> None:
    """Ask."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--model", type=Path, help="a model folder, in place of a fake engine")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder), arguments.model) as server:
        titles = server.ask("/titles?k=100")[1]["items"]
        known = [item["item_id"] for item in titles]
        seen = fuzz(server, arguments.cases, arguments.seed, known)
    print(f"{seen.total()} requests; status: {dict(sorted(seen.items()))}")


if __name__ == "__main__":
    main()
