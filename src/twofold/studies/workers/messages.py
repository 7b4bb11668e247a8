"""The messages of a worker to its study: the records of its log, then a unit's result or error.

A message is a kind and a content: `log` and a record, `done` and a result, `failed` and an error.
"""

import logging
import logging.handlers
import pickle
import queue
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from twofold.studies.workers.context import StudyContext
from twofold.studies.workers.units import Unit, run_unit

Send = Callable[[str, Any], None]
"""Sends a message: its kind and its content."""
Job = tuple[StudyContext, Unit, Mapping[Unit, Any]]
"""The study, a unit of it, and the results that the unit needs."""

_LOGGER = "twofold"


def log_level() -> int:
    """The log level of the study, which its workers use as well."""
    return logging.getLogger(_LOGGER).getEffectiveLevel()


def run_job(next_job: Callable[[], Job], level: int, send: Send) -> None:
    """Run a unit in a worker, and send its log, then its result or its error.

    Args:
        next_job: reads the job; its errors are sent as well.
        level: the log level of the study.
        send: sends a message; it is called from this thread.
    """
    logger, forwarder = logging.getLogger(_LOGGER), _Forwarder(send)
    logger.setLevel(level)
    logger.addHandler(forwarder)
    try:
        context, unit, results = next_job()
        result = run_unit(unit, context, results)
    except BaseException as error:
        send("failed", _picklable(error))
    else:
        send("done", result)
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
    """Sends log records, with their arguments filled in."""

    def __init__(self, send: Send) -> None:
        super().__init__(queue.SimpleQueue())
        self._send = send

    def enqueue(self, record: logging.LogRecord) -> None:
        self._send("log", record)


def _picklable(error: BaseException) -> BaseException:
    """An error with its traceback as a note; if it cannot be pickled, only its message is kept."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
