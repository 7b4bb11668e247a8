"""Counts how often a task's examples and requests are built from the tables."""

from typing import Any

import pytest

from twofold.tasks import prepared


def count_builds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A list that grows by an entry such as `("build_examples", "search")` with every build."""
    built: list[tuple[Any, ...]] = []

    def counted(name: str) -> None:
        original = getattr(prepared, name)

        def build(*arguments: Any) -> Any:
            which = tuple(each for each in arguments if isinstance(each, str | bool))
            built.append((name, *which))
            return original(*arguments)

        monkeypatch.setattr(prepared, name, build)

    for name in ("build_examples", "search_requests", "recommendation_requests"):
        counted(name)
    return built
