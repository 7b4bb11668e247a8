"""Runs and qrels as TREC files, parsed as by trec_eval, so other tools compute the same ranks.

A field ends at a space or a tab. So whitespace in an id is percent-encoded when it is written
(`a b` as `a%20b`). All other ids are written unchanged, and all ids are read unchanged.
"""

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import numpy as np

from twofold.data.dataset import Note
from twofold.data.ids import trec_id
from twofold.data.qrels import MAX_RELEVANCE
from twofold.data.reading.decode import read_text
from twofold.records import InputError, Qrels, Ranking, Run

_log = logging.getLogger(__name__)
_WHITE_SPACE_OR_PERCENT = re.compile(r"[\s%]")
_RUN = "request_id Q0 item_id rank score name"
_QRELS = "request_id 0 item_id relevance"


def rank(scored: Iterable[tuple[str, float]]) -> Ranking:
    """Order items by score; equal scores by `item_id`, descending as strings."""
    ordered = sorted(scored, key=lambda pair: (pair[1], pair[0]), reverse=True)
    return Ranking(tuple(item for item, _ in ordered), tuple(score for _, score in ordered))


def write_run(run: Run, path: Path) -> None:
    """`request_id Q0 item_id rank score name`, scores with nine digits: exact for float32.

    Raises:
        InputError: two requests, or two items of a ranking, would have the same id.
    """
    name = trec_id(run.name)
    _require_different(run, "requests")
    with path.open("w", encoding="utf-8") as file:
        for request_id in run:
            ranking = run[request_id]
            _require_different(ranking.item_ids)
            for place, item_id in enumerate(ranking.item_ids):
                fields = trec_id(request_id), "Q0", trec_id(item_id), str(place + 1)
                file.write(f"{' '.join(fields)} {ranking.scores[place]:.9g} {name}\n")


def read_run(path: Path, ids: Iterable[str] = ()) -> Run:
    """Read a TREC run; ranks are computed from the scores, which are float32, as trec_eval does.

    The ranks of the file are not used; requests with ranks that contradict their scores, or whose
    scores are all equal, are logged.

    Args:
        path: the file.
        ids: ids that the file may contain; those with whitespace are decoded from the form that
            `write_run` wrote. All other ids stay unchanged.

    Raises:
        InputError: a line without six fields, a score that is not a number, or an item twice.
    """
    original = _by_name(ids)
    scored: dict[str, dict[str, float]] = {}
    places: dict[str, list[float]] = {}
    name = path.stem
    with np.errstate(over="ignore"):
        for number, fields in _lines(path, _RUN):
            request_id, _, item_id, place, score, name = fields
            value = _number(score)
            if math.isnan(value):
                raise InputError(
                    f"{path} line {number}: score '{score}' is not a number; correct it, or "
                    f"remove the line"
                )
            request_id = original.get(request_id, request_id)
            answer = scored.setdefault(request_id, {})
            item_id = original.get(item_id, item_id)
            if item_id in answer:
                raise InputError(
                    f"{path} line {number}: item '{item_id}' occurs twice in the ranking of "
                    f"'{request_id}'; keep one of the lines"
                )
            answer[item_id] = float(np.float32(value))
            places.setdefault(request_id, []).append(_number(place))
    _log_contradictions(path, scored, places)
    return Run(name, {request_id: rank(answer.items()) for request_id, answer in scored.items()})


def _log_contradictions(
    path: Path, scored: Mapping[str, Mapping[str, float]], places: Mapping[str, Sequence[float]]
) -> None:
    """Log requests in which an item with a worse rank has a higher score, such as a distance, and
    those whose items all have one score, so that their ranks are lost.
    """
    otherwise, equal = [], []
    for request_id, answer in scored.items():
        by_place = sorted(zip(places[request_id], answer.values(), answer, strict=True))
        if any(
            first < second and lower < higher
            for (first, lower, _), (second, higher, _) in pairwise(by_place)
        ):
            otherwise.append(request_id)
        elif len(set(answer.values())) == 1 and any(
            first < second and before < after
            for (first, _, before), (second, _, after) in pairwise(by_place)
        ):
            equal.append(request_id)
    for requests, problem, remedy in (
        (otherwise, "contradict its scores", "if lower scores are better, negate them"),
        (equal, "are lost, since all its scores are equal", "write scores that fall with the rank"),
    ):
        if requests:
            problem = f"the ranks of request '{requests[0]}' {problem}"
            effect = "ranked by score, as by trec_eval"
            note = Note(len(requests), str(path), problem, remedy, "request", effect)
            _log.warning("%s", note)


def read_qrels(path: Path) -> Qrels:
    """Read TREC qrels: `request_id 0 item_id relevance`, a whole number such as 1 or 1.0.

    Repeated lines count once, and are logged.

    Raises:
        InputError: a line without four fields, a relevance that is not an integer, or two lines
            that contradict each other.
    """
    qrels: dict[str, dict[str, int]] = {}
    places: dict[tuple[str, str], int] = {}
    again = []
    for number, (request_id, _, item_id, relevance) in _lines(path, _QRELS):
        value = _number(relevance)
        if not (abs(value) <= MAX_RELEVANCE and value == int(value)):
            raise InputError(
                f"{path} line {number}: relevance '{relevance}' is not an integer up to "
                f"{MAX_RELEVANCE}; use 0 for not relevant, 1 or more for relevant"
            )
        relevant = qrels.setdefault(request_id, {})
        before = relevant.setdefault(item_id, int(value))
        first = places.setdefault((request_id, item_id), number)
        if before != value:
            raise InputError(
                f"{path} line {number}: request '{request_id}' and item '{item_id}' have relevance "
                f"{int(value)}, and {before} on line {first}; keep one of the lines"
            )
        if first != number:
            again.append((number, f"request '{request_id}' and item '{item_id}' occur twice"))
    if again:
        number, problem = again[0]
        note = Note(len(again), f"{path} line {number}", problem, "keep one of the lines")
        _log.warning("%s", note)
    return qrels


def write_qrels(qrels: Qrels, path: Path) -> None:
    """Write TREC qrels.

    Raises:
        InputError: two requests, or two items of a request, would have the same id.
    """
    _require_different(qrels, "requests")
    with path.open("w", encoding="utf-8") as file:
        for request_id, relevant in qrels.items():
            _require_different(relevant)
            for item_id, relevance in relevant.items():
                file.write(f"{trec_id(request_id)} 0 {trec_id(item_id)} {relevance}\n")


def require_common_ids(run: Run, run_path: Path, qrels: Qrels, qrels_path: Path) -> None:
    """Raise InputError if the run has no request of the qrels.

    Logs rankings of requests without judgments, requests without a relevant item, and a run without
    any judged item.
    """
    answered = [request_id for request_id in qrels if request_id in run.rankings]
    if not answered:
        raise InputError(
            f"{run_path}: has no request of {qrels_path}: the run has "
            f"'{next(iter(run))}', the qrels have '{next(iter(qrels))}'; write request ids in the "
            f"same way in both"
        )
    if unjudged := [request_id for request_id in run if request_id not in qrels]:
        problem = f"request '{unjudged[0]}' is not judged by {qrels_path}"
        note = Note(len(unjudged), str(run_path), problem, "judge it", unit="request")
        _log.warning("%s", note)
    if empty := [r for r, relevant in qrels.items() if max(relevant.values(), default=0) <= 0]:
        problem = f"request '{empty[0]}' has no relevant item"
        effect = "scored 0"
        note = Note(len(empty), str(qrels_path), problem, "judge one", "request", effect)
        _log.warning("%s", note)
    judged = {item_id for request_id in answered for item_id in qrels[request_id]}
    ranked = [item_id for request_id in answered for item_id in run[request_id].item_ids]
    if ranked and judged and judged.isdisjoint(ranked):
        _log.warning(
            "%s: no item of the run is judged: the run has '%s', %s has '%s'; write item ids in "
            "the same way in both",
            run_path,
            ranked[0],
            qrels_path,
            next(iter(judged)),
        )


_BLANKS = re.compile(r"[ \t]+")

_SHOWN = 60
"""The largest number of characters of a line in a message."""


def _lines(path: Path, layout: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty: their number and their fields, as many as `layout` has."""
    text = read_text(path)
    if not text.strip(" \t\r\n"):
        raise InputError(f"{path}: the file is empty; a line is: {layout}")
    count = len(layout.split())
    for number, line in enumerate(text.split("\n"), start=1):
        fields = _BLANKS.split(stripped) if (stripped := line.strip(" \t\r")) else []
        if fields and len(fields) != count:
            given = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
            raise InputError(
                f"{path} line {number}: {given}, {count} are expected: {layout}; "
                f"the line is '{stripped[:_SHOWN]}': write it in this form, or remove it"
            )
        if fields:
            yield number, fields


def _number(text: str) -> float:
    """A number that C and Python parse in the same way; else NaN."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _by_name(ids: Iterable[str]) -> Mapping[str, str]:
    """The ids that are written in another form, by that form."""
    unescaped = set(ids)
    names = {}
    for value in unescaped:
        # Up to Twofold 0.1 a percent sign was written as %25 as well.
        escaped = _WHITE_SPACE_OR_PERCENT.sub(lambda match: quote(match[0]), value)
        names.update({name: value for name in (escaped, trec_id(value)) if name not in unescaped})
    return names


def _require_different(ids: Iterable[str], of: str = "items") -> None:
    """Raise InputError if two ids would be written as the same."""
    seen: dict[str, str] = {}
    for value in ids:
        if (other := seen.setdefault(trec_id(value), value)) != value:
            raise InputError(
                f"{of} '{other}' and '{value}' have the same name in a TREC file, in which "
                f"white space is written as in a URL; rename one of them"
            )
