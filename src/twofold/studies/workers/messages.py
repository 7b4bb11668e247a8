"""What a worker says to its study: the records of its log, then a unit's result or its error.

A message is a kind and a content: `log` and a record, `done` and a result, `failed` and an error.
"""

import logging
import logging.handlers
import pickle
import queue
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from twofold.studies.workers.units import Unit, Work, perform

Say = Callable[[str, Any], None]
"""Sends a message: its kind and its content."""
Order = tuple[Work, Unit, Mapping[Unit, Any]]
"""The study, a unit of it, and the results that the unit needs."""

_LOGGER = "twofold"


def log_level() -> int:
    """The level from which on a study logs, which its workers are told."""
    return logging.getLogger(_LOGGER).getEffectiveLevel()


def answer(order: Callable[[], Order], level: int, say: Say) -> None:
    """Do a unit in a worker, and say what comes of it.

    Args:
        order: reads what is to be done; its errors are said as well.
        level: the study's level of the log.
        say: sends a message, from this thread.
    """
    logger, forwarder = logging.getLogger(_LOGGER), _Forwarder(say)
    logger.setLevel(level)
    logger.addHandler(forwarder)
    try:
        work, unit, results = order()
        result = perform(unit, work, results)
    except BaseException as error:
        say("failed", _sendable(error))
    else:
        say("done", result)
    finally:
        logger.removeHandler(forwarder)


def is_result(unit: Unit, kind: str, content: Any) -> bool:
    """Whether a message has the result of its unit; a record is logged, an error is raised."""
    if kind == "log":
        content.msg = f"{unit.name}: {content.msg}"
        logging.getLogger(content.name).handle(content)
    if kind == "failed":
        raise content
    return kind == "done"


class _Forwarder(logging.handlers.QueueHandler):
    """Sends records of the log, with their arguments filled in."""

    def __init__(self, say: Say) -> None:
        super().__init__(queue.SimpleQueue())
        self._say = say

    def enqueue(self, record: logging.LogRecord) -> None:
        self._say("log", record)


def _sendable(error: BaseException) -> BaseException:
    """An error with its traceback as a note; one that cannot be pickled by its words alone."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
