"""The data report as Markdown."""

from twofold.data.reading.time_values import readable
from twofold.records import SPLITS, other_task
from twofold.tasks.evaluate import NEEDS
from twofold.tasks.report import NEAR_DUPLICATE, Report

_EVENTS = {"search": "queries with a relevant item", "recommendation": "interactions"}
_ROWS = {"search": "queries", "recommendation": "interactions"}
"""The table whose splits hold the requests of a task."""

_WITHOUT = {
    "train": "cannot be trained",
    "validation": "has no checkpoint chosen on validation",
    "test": "cannot be evaluated",
}
"""What a task lacks if a split has no request of it."""


_NOT_MEASURED = (
    "`-`: not measured, since the task has no validation requests, or no item text or training "
    "targets that this start needs."
)


def report_text(report: Report) -> str:
    """The report as Markdown."""
    lines = [f"# Data report: {report['source']}", "", *_table_lines(report)]
    lines += _event_lines(report["events"], report["sizes"]["interactions"])
    lines += ["", *_split_lines(report["splits"]), "", *_empty_split_lines(report)]
    if len(report["tasks"]) == 2:
        lines += _task_lines(report["overlap"], report["divergence"])
    if report["sizes"]["queries"]:
        lines += _query_lines(report)
    lines += _start_lines(report)
    if "forecast" in report:
        heading, *predictions = report["forecast"]["lines"]
        lines += ["", heading, "", *(f"- {line}" for line in predictions)]
    if report["left_out"]:
        lines += ["", "What was left out, or changed, when the data were read:"]
        lines += [f"- {note}" for note in report["left_out"]]
    return "\n".join(lines) + "\n"


def _table_lines(report: Report) -> list[str]:
    """The sizes of the tables, a task that is missing, and repeats, as lines of Markdown."""
    sizes, tasks = report["sizes"], report["tasks"]
    lines = [
        f"- Catalog: {sizes['items']:,} items, {sizes['items_with_text']:,} of them with text, "
        f"{sizes['items_without_title']:,} without a title.",
        f"- Interactions: {sizes['interactions']:,} of {sizes['users']:,} users; "
        f"{_only_train(report)}.",
        f"- Queries: {sizes['queries']:,} with {sizes['qrels']:,} judgments of relevant items.",
    ]
    if len(tasks) == 1:
        lacks = _EVENTS[other_task(tasks[0])]
        lines.append(f"- Tasks: {tasks[0]} alone, since there are no {lacks}.")
    seen = "excluded from" if report["seen"] == "exclude" else "kept in"
    lines.append(
        f"- Repeats: {report['repeat_share']:.1%} of the events repeat an item of the same user; "
        f"in recommendation, the items of the history are {seen} the ranking."
    )
    return lines


def _split_lines(splits: Report) -> list[str]:
    """The sizes of the splits as a table in Markdown."""
    columns = (*SPLITS, "not used")
    lines = ["| split | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in ("interactions", "queries"):
        lines.append(f"| {name} | " + " | ".join(f"{splits[name][c]:,}" for c in columns) + " |")
    return lines


def _empty_split_lines(report: Report) -> list[str]:
    """The splits that hold no request of a task, as lines of Markdown."""
    return [
        f"- No {split} requests for {task}, which therefore {_WITHOUT[split]}: {NEEDS[task]}."
        for task in report["tasks"]
        for split in SPLITS
        if not report["splits"][_ROWS[task]][split]
    ]


def _task_lines(overlap: Report, divergence: Report | None) -> list[str]:
    """What both tasks have in common, as lines of Markdown."""
    lines = [
        f"- Overlap: {overlap['items_in_both']:,} items are training targets of both tasks "
        f"({overlap['searched_also_recommended']:.0%} of the targets of search, "
        f"{overlap['recommended_also_searched']:.0%} of those of recommendation).",
    ]
    if divergence is not None:
        lines.append(
            f"- Popularity: the Jensen-Shannon divergence of the two tasks' training distributions "
            f"is {divergence['jensen_shannon_train']:.3f} nats (0: equal; the most is 0.693)."
        )
    return lines


def _event_lines(report: Report, events: int) -> list[str]:
    """The report on `events` events as lines of Markdown."""
    lines = []
    if events:
        lines.append(
            f"- Events of a user: {report['median']:,} in the median; user '{report['most_of']}' "
            f"has the most, {report['most']:,} ({report['most'] / events:.1%} of all). If that is "
            f"a bot or a test account, remove it."
        )
    if report["first"] is not None:
        first, last = (readable(report[name], report["are_times"]) for name in ("first", "last"))
        what = "Times" if report["are_times"] else "Times, as numbers"
        lines.append(f"- {what}: {first} to {last}.")
    if report["near_copies"]:
        lines.append(
            f"- Near-copies: {report['near_copies']:,} events "
            f"({report['near_copies'] / events:.1%}) have the same user and item as one within an "
            f"hour before, {report['near_copies_held_out']:,} of them held out. If the log "
            f"holds one event twice, remove the copy: it is easy to predict and counts as a repeat."
        )
    if report["tied"]:
        lines.append(
            f"- Equal times: {report['tied']:,} events ({report['tied'] / events:.1%}) have the "
            f"time of another event of their user. They are in the order of the file, "
            f"which decided {report['held_out_by_file_order']:,} of the held-out events."
        )
    if report["not_used"]:
        lines.append(
            f"- Not used: {report['not_used']:,} events from the cutoff on that are no user's "
            f"test event; see the notes."
        )
    return lines


def _start_lines(report: Report) -> list[str]:
    """The validation scores of initial item embeddings, from `twofold.encoders.start_report`."""
    starts = report.get("starts", {})
    if starts is None:
        return ["", "Initial item embeddings were not evaluated: the catalog is too large."]
    if not starts:
        return []
    tasks = report["tasks"]
    rows = [
        f"| {start} | "
        + " | ".join(f"{scores[t]:.3f}" if t in scores else "-" for t in tasks)
        + " |"
        for start, scores in starts.items()
    ]
    return [
        "",
        "Validation nDCG@10 of the initial item embeddings, before any training:",
        "",
        f"| item_init | {' | '.join(tasks)} |",
        "|---|" + "---|" * len(tasks),
        *rows,
        *(["", _NOT_MEASURED] if any("| - " in row for row in rows) else []),
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
    """The report on queries as lines of Markdown."""
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
