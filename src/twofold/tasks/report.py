"""The data report: the contents of a dataset, and what may bias numbers computed on it."""

from array import array
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from twofold.data.words import query_key, words
from twofold.records import SPLITS, Ints
from twofold.tasks.arrays import SplitNumbers
from twofold.tasks.event_report import event_lines, event_report
from twofold.tasks.popularity import jensen_shannon, kullback_leibler, popularity_distribution
from twofold.tasks.prepared import PreparedDataset, height, in_parts

NEAR_DUPLICATE = 0.8
"""The smallest Jaccard overlap of words at which two queries count as near-duplicates."""

_CHUNK, _COMPARED = 1000, 100_000_000
"""The largest numbers of test queries, and of pairs with training queries, compared at once."""

_MOST_PAIRS, _MOST_TEST, _MOST_TRAINED = 2_000_000_000, 2_000, 1_000_000
"""With more pairs of a test and a training query than the first number, samples of the other two
sizes are compared."""

Report = dict[str, Any]


def data_report(dataset: PreparedDataset) -> Report:
    """Sizes, splits, overlap and divergence of the tasks, events, leaks, near-duplicates."""
    events, queries = event_report(dataset), _query_leaks(dataset)
    seen = queries.pop("test_queries_seen")
    return {
        "source": dataset.source,
        "digest": dataset.digest,
        "tasks": list(dataset.tasks),
        "split": dataset.protocol.split,
        "sizes": _sizes(dataset),
        "splits": _splits(dataset, seen),
        "repeat_share": events.pop("repeat_share"),
        "events": events,
        "seen": dataset.protocol.seen,
        "overlap": _overlap(dataset),
        "divergence": _divergence(dataset),
        "queries": queries,
        "left_out": [str(note) for note in dataset.notes],
    }


def _sizes(dataset: PreparedDataset) -> Report:
    events = dataset.columns.events
    users = len(events.users)
    unused = users - events.users_of(np.array([0, 1, 2]))
    held_out = events.users_of(np.array([1, 2]))
    return {
        "items": len(dataset.catalog),
        "items_with_text": sum(bool(text) for text in dataset.catalog.texts),
        "users": users,
        "users_that_only_train": users - held_out - unused,
        "users_not_used": unused,
        "interactions": len(events.items),
        "queries": height(dataset.tables.scan("queries")),
        "qrels": height(dataset.tables.scan("qrels")),
    }


def _splits(dataset: PreparedDataset, seen: int) -> Report:
    """The sizes of the splits; `seen` test queries have the text of a training query."""

    def count(numbers: SplitNumbers) -> dict[str, int]:
        not_used, *counts = (int((numbers == number).sum()) for number in range(-1, len(SPLITS)))
        return dict(zip(map(str, SPLITS), counts, strict=True)) | {"not used": not_used}

    splits: Report = {
        "interactions": count(dataset.columns.events.splits),
        "queries": count(dataset.columns.queries.splits),
    }
    if dataset.protocol.split == "temporal" and len(dataset.columns.queries.splits):
        splits["test_queries_seen_in_training"] = seen
        splits["test_queries_unseen"] = splits["queries"]["test"] - seen
    return splits


def _overlap(dataset: PreparedDataset) -> Report:
    """The overlap of the tasks' training items; the paper's blog has 84 % and 30 % for podcasts."""
    search = dataset.task("search").popularity > 0
    recommendation = dataset.task("recommendation").popularity > 0
    both = int((search & recommendation).sum())
    return {
        "items_in_both": both,
        "items_in_search_only": int((search & ~recommendation).sum()),
        "items_in_recommendation_only": int((recommendation & ~search).sum()),
        "items_in_neither": int((~search & ~recommendation).sum()),
        "searched_also_recommended": both / max(1, int(search.sum())),
        "recommended_also_searched": both / max(1, int(recommendation.sum())),
    }


def _divergence(dataset: PreparedDataset) -> Report | None:
    """The divergences of the two tasks' popularity distributions; None with one task only."""
    if len(dataset.tasks) < 2:
        return None
    train = {t: popularity_distribution(dataset.task(t).popularity) for t in dataset.tasks}
    test = {t: popularity_distribution(dataset.task(t).test_popularity) for t in dataset.tasks}
    return {
        "jensen_shannon_train": jensen_shannon(train["search"], train["recommendation"]),
        **{
            f"kl_test_{of}_from_train_{given}": kullback_leibler(test[of], train[given])
            for of in dataset.tasks
            for given in dataset.tasks
        },
    }


def _query_leaks(dataset: PreparedDataset) -> Report:
    """Test queries that are near training queries, and queries that equal a title."""
    splits = dataset.columns.queries.splits
    test, trained = (np.flatnonzero(splits == SPLITS.index(name)) for name in ("test", "train"))
    compared, others, looked_at = test, trained, {}
    if len(test) * len(trained) > _MOST_PAIRS:
        compared, others = _drawn(test, _MOST_TEST), _drawn(trained, _MOST_TRAINED)
        looked_at = {"near_duplicates_looked_at": len(compared)}
    titles = {query_key(title) for title in dataset.catalog.items["title"] if title}
    named = pl.Series([sorted(titles)], dtype=pl.List(pl.String))
    equal, start, hashes = 0, 0, []
    keys: tuple[list[str], list[str]] = [], []
    for part in in_parts(dataset.tables.scan("queries").select("key")):
        of_part = part["key"]
        equal += int(of_part.is_in(named).sum())
        hashes.append(of_part.hash().to_numpy())
        for rows, listed in zip((compared, others), keys, strict=True):
            low, high = np.searchsorted(rows, (start, start + len(of_part)))
            listed += of_part.gather(rows[low:high] - start).to_list()
        start += len(of_part)
    near, example = _near_duplicates(*keys)
    # Equal texts have equal hashes, so the texts need not be kept in memory.
    known = np.concatenate(hashes)
    seen = np.isin(known[test], known[trained])
    return {
        "test_queries_seen": int(seen.sum()),
        "left_out_of_training": len(trained) - len(dataset.task("search").examples),
        "near_duplicates_of_training": near,
        **looked_at,
        "near_duplicate_example": example,
        "same_text_as_training": len(np.unique(known[test][seen])),
        "equal_to_a_title": equal,
    }


def _drawn(queries: Ints, most: int) -> Ints:
    """At most `most` of the queries: the same sample every time."""
    if len(queries) <= most:
        return queries
    return queries[np.sort(np.random.default_rng(0).choice(len(queries), most, replace=False))]


def _near_duplicates(test: list[str], trained: list[str]) -> tuple[int, list[str] | None]:
    """The number of test queries that are near-duplicates of a training query, and an example."""
    if not test or not trained:
        return 0, None
    number: dict[str, int] = {}
    numbers, starts = array("q"), array("q", [0])
    for key in chain(test, trained):
        numbers.extend(_words(key, number))
        starts.append(len(numbers))
    lengths = np.diff(np.array(starts))
    ones = sp.csr_array(
        (np.ones(len(numbers)), np.array(numbers), np.array(starts)),
        shape=(len(lengths), len(number)),
    )
    duplicates, example = 0, None
    others = ones[len(test) :].T.tocsr()
    chunk = max(1, min(_CHUNK, _COMPARED // len(trained)))
    for start in range(0, len(test), chunk):
        shared = (ones[start : min(start + chunk, len(test))] @ others).tocoo()
        union = lengths[start + shared.row] + lengths[len(test) + shared.col] - shared.data
        near = np.flatnonzero(shared.data >= NEAR_DUPLICATE * union)
        duplicates += len(np.unique(shared.row[near]))
        if len(near) and example is None:
            example = [test[start + shared.row[near[0]]], trained[shared.col[near[0]]]]
    return duplicates, example


def _words(key: str, number: dict[str, int]) -> list[int]:
    """The numbers of a query's words; a new word gets the next number."""
    return [number.setdefault(word, len(number)) for word in sorted(set(words(key)))]


def report_text(report: Report) -> str:
    """The report as Markdown."""
    sizes, splits, overlap = report["sizes"], report["splits"], report["overlap"]
    columns = (*SPLITS, "not used")
    lines = [
        f"# Data report: {report['source']}",
        "",
        f"- Catalog: {sizes['items']:,} items, {sizes['items_with_text']:,} of them with text.",
        f"- Interactions: {sizes['interactions']:,} of {sizes['users']:,} users; "
        f"{_only_train(report)}.",
        f"- Queries: {sizes['queries']:,} with {sizes['qrels']:,} judgments of relevant items.",
        f"- Repeats: {report['repeat_share']:.1%} of the events repeat an item of the same user; "
        f"in recommendation, the items of the history are "
        f"{'excluded from' if report['seen'] == 'exclude' else 'kept in'} the ranking.",
        *event_lines(report["events"], sizes["interactions"]),
        "",
        "| split | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
        *(
            f"| {name} | " + " | ".join(f"{splits[name][split]:,}" for split in columns) + " |"
            for name in ("interactions", "queries")
        ),
        "",
    ]
    if len(report["tasks"]) == 2:
        divergence = report["divergence"]
        lines += [
            f"- Overlap: {overlap['items_in_both']:,} items are training targets of both tasks "
            f"({overlap['searched_also_recommended']:.0%} of the targets of search, "
            f"{overlap['recommended_also_searched']:.0%} of those of recommendation).",
            f"- Popularity: the Jensen-Shannon divergence of the two tasks' training distributions "
            f"is {divergence['jensen_shannon_train']:.3f} nats (0: equal; 0.693: no item in "
            f"common).",
        ]
    if sizes["queries"]:
        lines += _query_lines(report)
    lines += _start_lines(report)
    if "forecast" in report:
        first, *said = report["forecast"]["lines"]
        lines += ["", first, "", *(f"- {line}" for line in said)]
    if report["left_out"]:
        lines += [
            "",
            "What was left out, or changed, when the data were read:",
            *(f"- {note}" for note in report["left_out"]),
        ]
    return "\n".join(lines) + "\n"


def _start_lines(report: Report) -> list[str]:
    """The validation scores of initial item embeddings, from `twofold.encoders.start_report`."""
    starts = report.get("starts", {})
    if starts is None:
        return ["", "Initial item embeddings were not evaluated: the catalog is too large."]
    if not starts:
        return []
    tasks = report["tasks"]
    rows = [
        f"| {start} | " + " | ".join(f"{known[t]:.3f}" if t in known else "" for t in tasks) + " |"
        for start, known in starts.items()
    ]
    return [
        "",
        "Validation nDCG@10 of the initial item embeddings, before any training:",
        "",
        f"| item_init | {' | '.join(tasks)} |",
        "|---|" + "---|" * len(tasks),
        *rows,
    ]


def _only_train(report: Report) -> str:
    """A sentence about the number of users without a test event, and the reason."""
    sizes = report["sizes"]
    only = f"{sizes['users_that_only_train']:,} users"
    if report["split"] == "last":
        return f"{only} have fewer than three events, which are all for training"
    return (
        f"{only} have no event from the cutoff on, so all are for training; "
        f"{sizes['users_not_used']:,} have none before it and are not used"
    )


def _looked_at(queries: Report) -> str:
    """The test queries that were compared with the training queries, in words."""
    some = queries.get("near_duplicates_looked_at")
    return "test queries" if some is None else f"of {some:,} test queries that were compared"


def _query_lines(report: Report) -> list[str]:
    queries, splits = report["queries"], report["splits"]
    example = queries["near_duplicate_example"]
    lines = [
        f"- Near-duplicates: {queries['near_duplicates_of_training']:,} {_looked_at(queries)} "
        f"share at least {NEAR_DUPLICATE:.0%} of their words with a training query"
        + (f", such as '{example[0]}' and '{example[1]}'." if example else "."),
        f"- Left out of training: {queries['left_out_of_training']:,} queries that were typed "
        f"after their user's first held-out event, or whose only relevant items are that user's "
        f"held-out items.",
        f"- Leaks: {queries['same_text_as_training']:,} test queries have the text of a training "
        f"query.",
        f"- Titles: {queries['equal_to_a_title']:,} queries equal an item's title.",
    ]
    if "test_queries_unseen" in splits:
        lines.append(
            f"- Test queries: {splits['test_queries_seen_in_training']:,} were typed before the "
            f"cutoff, {splits['test_queries_unseen']:,} are new."
        )
    return lines
