"""Runs and qrels as TREC files, so that any other tool gives the same ranks."""

import re
from collections.abc import Iterable
from pathlib import Path

from twofold.records import InputError, Qrels, Ranking, Run

_SPACE = re.compile(r"\s")


def rank(scored: Iterable[tuple[str, float]]) -> Ranking:
    """Order items by score; equal scores by `item_id`, descending as strings."""
    ordered = sorted(scored, key=lambda pair: (pair[1], pair[0]), reverse=True)
    return Ranking(tuple(item for item, _ in ordered), tuple(score for _, score in ordered))


def write_run(run: Run, path: Path) -> None:
    """`request_id Q0 item_id rank score name`, scores with nine digits: exact for float32.

    Raises:
        InputError: an id holds white space, which the format has no way to write.
    """
    name = _SPACE.sub("-", run.name)
    with path.open("w", encoding="utf-8") as file:
        for request_id in run:
            ranking = run[request_id]
            for place, item_id in enumerate(ranking.item_ids):
                _require_word(request_id)
                _require_word(item_id)
                value = ranking.scores[place]
                file.write(f"{request_id} Q0 {item_id} {place + 1} {value:.9g} {name}\n")


def read_run(path: Path) -> Run:
    """Read a TREC run; ranks are made anew from the scores, as trec_eval does.

    Raises:
        InputError: a line without six fields, or a score that is no number.
    """
    scored: dict[str, list[tuple[str, float]]] = {}
    name = path.stem
    for number, fields in _lines(path, 6):
        try:
            scored.setdefault(fields[0], []).append((fields[2], float(fields[4])))
        except ValueError as error:
            raise InputError(f"{path} line {number}: score '{fields[4]}' is no number") from error
        name = fields[5]
    return Run(name, {request_id: rank(pairs) for request_id, pairs in scored.items()})


def read_qrels(path: Path) -> Qrels:
    """Read TREC qrels: `request_id 0 item_id relevance`.

    Raises:
        InputError: a line without four fields, or a relevance that is no whole number.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, fields in _lines(path, 4):
        try:
            qrels.setdefault(fields[0], {})[fields[2]] = int(fields[3])
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
                _require_word(request_id)
                _require_word(item_id)
                file.write(f"{request_id} 0 {item_id} {relevance}\n")


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


def _require_word(value: str) -> None:
    if not value or _SPACE.search(value):
        raise InputError(f"id '{value}': a TREC file cannot hold white space; rename it")
