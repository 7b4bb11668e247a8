"""The report on events counts what may be a copy, what shares a time, and what is not used."""

from typing import Any

from tests.conftest import WriteFolder
from twofold.tasks.report import data_report
from twofold.tasks.report_text import report_text
from twofold.tasks.storage import load_dataset

NOON = 1_715_774_400


def _report(write_folder: WriteFolder, *events: tuple[str, str, int | str]) -> dict[str, Any]:
    rows = "".join(f"{user},{item},{time}\n" for user, item, time in events)
    folder = write_folder(
        interactions=f"user_id,item_id,timestamp\n{rows}", queries=None, qrels=None
    )
    return data_report(load_dataset(folder))


def test_the_same_item_again_within_an_hour_is_a_near_copy(write_folder: WriteFolder) -> None:
    report = _report(
        write_folder,
        ("u", "a", NOON),
        ("u", "b", NOON + 1),
        ("u", "a", NOON + 3600),
        ("u", "b", NOON + 3602),
        ("v", "a", NOON + 5),
    )
    assert report["events"]["near_copies"] == 1
    assert report["events"]["near_copies_held_out"] == 1
    assert "1 events (20.0%) have the same user and item as one within an hour" in report_text(
        report
    )


def test_copies_do_not_switch_the_filter_of_seen_items_off(write_folder: WriteFolder) -> None:
    events = [("u", item, NOON + n * 9000) for n, item in enumerate("abcde")]
    once = _report(write_folder, *events)
    folder = write_folder(
        "twice",
        interactions="user_id,item_id,timestamp\n"
        + "".join(f"{user},{item},{time}\n" for user, item, time in events for _ in range(2)),
        queries=None,
        qrels=None,
    )
    twice = data_report(load_dataset(folder))
    assert once["seen"] == twice["seen"] == "exclude"
    assert twice["repeat_share"] == 0
    assert twice["digest"] == once["digest"]


def test_equal_times_are_counted_and_what_they_decide(write_folder: WriteFolder) -> None:
    report = _report(
        write_folder,
        ("u", "a", NOON),
        ("u", "b", NOON),
        ("u", "c", NOON + 9),
        ("u", "d", NOON + 9),
        ("v", "a", NOON),
        ("v", "b", NOON + 1),
        ("v", "c", NOON + 2),
    )
    assert report["events"]["tied"] == 4
    # Which of c and d is validation and which test, only their order says.
    assert report["events"]["held_out_by_file_order"] == 2
    text = report_text(report)
    assert "4 events (57.1%) have the time of another event of their user" in text
    assert "decided 2 of the held-out events" in text


def test_positions_have_no_near_copies(write_folder: WriteFolder) -> None:
    report = _report(write_folder, ("u", "a", 0), ("u", "a", 1), ("u", "b", 2))
    assert report["events"]["near_copies"] is None
    assert report["events"]["tied"] == 0


def test_the_range_of_the_times_is_shown(write_folder: WriteFolder) -> None:
    report = _report(write_folder, ("u", "a", "2024-05-15"), ("u", "b", "2024-06-01"))
    assert "2024-05-15 00:00:00 UTC to 2024-06-01 00:00:00 UTC" in report_text(report)


def test_a_range_is_never_of_numbers_and_dates(write_folder: WriteFolder) -> None:
    counts = _report(write_folder, *(("u", item, n * 60_000_000) for n, item in enumerate("abcd")))
    assert counts["events"]["are_times"] is False
    assert "- Times, as numbers: 0 to 180000000." in report_text(counts)


def test_a_date_of_1970_among_others_is_a_date(write_folder: WriteFolder) -> None:
    later = ((f"u{n}", item, NOON + n) for n in range(60) for item in "ab")
    report = _report(write_folder, ("u", "a", NOON), *later, ("u", "b", 10**8))
    assert "- Times: 1973-03-03 09:46:40 UTC to 2024-05-15" in report_text(report)


def test_events_that_a_cutoff_leaves_are_not_used(write_folder: WriteFolder) -> None:
    rows = "user_id,item_id,timestamp\nu,a,10\nu,b,20\nu,c,30\nu,d,40\nv,a,40\n"
    folder = write_folder(interactions=rows, queries=None, qrels=None)
    report = data_report(load_dataset(folder, "temporal", 30))
    assert report["splits"]["interactions"]["not used"] == 2
    assert report["sizes"]["users_not_used"] == 1
    text = report_text(report)
    expected = (
        "0 users have no event from the cutoff on, so all are for training; 1 have none before"
    )
    assert expected in text
    assert "2 events from the cutoff on that are no user's test event" in text


def test_the_user_with_most_events_is_named(write_folder: WriteFolder) -> None:
    """A bot is the user whose history is far longer than the others'."""
    rows = [("bot", item, NOON + n) for n, item in enumerate("abcdeabcd")]
    rows += [(user, "a", NOON) for user in ("u", "v", "w")] + [("w", "b", NOON + 1)]
    report = _report(write_folder, *rows)
    events = report["events"]
    assert (events["median"], events["most"], events["most_of"]) == (1, 9, "bot")
    assert "1 in the median; user 'bot' has the most, 9 (69.2% of all)" in report_text(report)
