"""Records are built by name; a task has another one."""

import pytest

from twofold.records import TASKS, Request, other_task


def test_a_request_is_built_by_name() -> None:
    with pytest.raises(TypeError):
        Request("id", "a query")  # type: ignore[call-arg]


def test_the_other_task_of_the_other_task_is_the_task() -> None:
    for task in TASKS:
        assert other_task(task) != task
        assert other_task(other_task(task)) == task
