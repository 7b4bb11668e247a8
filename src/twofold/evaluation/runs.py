"""Runs and qrels as TREC files, so that any other tool gives the same ranks."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

from twofold.records import InputError, Qrels, Ranking, Run

_SPACE_OR_PERCENT = re.compile(r"[\s%]")


def rank(scored: Iterable[tuple[str, float]]) -> Ranking:
    """Order items by score; equal scores by `item_id`, descending as strings."""
    ordered = sorted(scored, key=lambda pair: (pair[1], pair[0]), reverse=True)
    return Ranking(tuple(item for item, _ in ordered), tuple(score for _, score in ordered))


def write_run(run: Run, path: Path) -> None:
    """`request_id Q0 item_id rank score name`, scores with nine digits: exact for float32.

    White space in an id, which would end the field, is written as in a URL.
    """
    name = _word(run.name)
    with path.open("w", encoding="utf-8") as file:
        for request_id in run:
            ranking = run[request_id]
            for place, item_id in enumerate(ranking.item_ids):
                fields = _word(request_id), "Q0", _word(item_id), str(place + 1)
                file.write(f"{' '.join(fields)} {ranking.scores[place]:.9g} {name}\n")


def read_run(path: Path) -> Run:
    """Read a TREC run; ranks are computed from the scores, as trec_eval does.

    Raises:
        InputError: a line without six fields, or a score that is no number.
    """
    scored: dict[str, dict[str, float]] = {}
    name = path.stem
    for number, fields in _lines(path, 6):
        try:
            value = float(fields[4])
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise InputError(f"{path} line {number}: score '{fields[4]}' is no number")
        answer = scored.setdefault(unquote(fields[0]), {})
        if unquote(fields[2]) in answer:
            raise InputError(
                f"{path} line {number}: item '{fields[2]}' stands twice in the answer to "
                f"'{fields[0]}'; keep one of the lines"
            )
        answer[unquote(fields[2])] = value
        name = fields[5]
    return Run(name, {request_id: rank(answer.items()) for request_id, answer in scored.items()})


def read_qrels(path: Path) -> Qrels:
    """Read TREC qrels: `request_id 0 item_id relevance`.

    Raises:
        InputError: a line without four fields, or a relevance that is no whole number.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, fields in _lines(path, 4):
        try:
            relevant = qrels.setdefault(unquote(fields[0]), {})
            relevant[unquote(fields[2])] = int(fields[3])
        except ValueError as error:
            raise InputError(
                f"{path} line {number}: relevance '{fields[3]}' is no whole number"
            ) from error
    return qrels


def write_qrels(qrels: Qrels, path: Path) -> None:
    """Write TREC qrels."""
    with path.open("w", encoding="utf-8") as file:
        for request_id, relevant in qrels.items():
            for item_id, relevance in relevant.items():
                file.write(f"{_word(request_id)} 0 {_word(item_id)} {relevance}\n")


def _lines(path: Path, count: int) -> Iterable[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable ({error})") from error
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if len(fields) != count:
            raise InputError(f"{path} line {number}: {len(fields)} fields, {count} are expected")
        yield number, fields


def _word(value: str) -> str:
    """An id without white space, which would end the field: `a b` -> `a%20b`."""
    return _SPACE_OR_PERCENT.sub(lambda match: quote(match[0]), value)
