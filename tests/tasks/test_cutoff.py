"""A cutoff cuts where it says, in whichever form it is written, and what it leaves is counted."""

import pytest

from tests.conftest import WriteFolder
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import load_dataset, save_dataset

NOON = 1_715_774_400  # 2024-05-15T12:00:00Z
HOUR = 3600
UNITS = {"": "", "m": "000", "u": "000000", "n": "000000000"}


def _prepare(
    write_folder: WriteFolder, cutoff: str | float, unit: str = "", name: str = "data"
) -> PreparedDataset:
    events = [
        *(("u", item, hours) for item, hours in zip("abcde", (-3, -2, -1, 0, 1), strict=True)),
        *(("v", item, hours) for item, hours in (("a", -2), ("b", -1))),
        *(("w", item, hours) for item, hours in (("c", 0), ("d", 1), ("e", 2))),
    ]
    rows = "".join(f"{u},{i},{NOON + h * HOUR}{UNITS[unit]}\n" for u, i, h in events)
    folder = write_folder(
        name, interactions=f"user_id,item_id,timestamp\n{rows}", queries=None, qrels=None
    )
    return load_dataset(folder, "temporal", cutoff)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "cutoff",
    [
        "2024-05-15T12:00:00",
        "2024-05-15T12:00:00Z",
        "2024-05-15 14:00+02:00",
        "202405151200",
        "20240515120000",
        *(f"{NOON}{zeros}" for zeros in UNITS.values()),
        float(NOON),
    ],
)
def test_every_form_cuts_alike(write_folder: WriteFolder, unit: str, cutoff: str | float) -> None:
    dataset = _prepare(write_folder, cutoff, unit)
    assert dataset.protocol.cutoff == NOON
    assert dataset.interactions["split"].to_list() == [
        *("train", "train", "validation", "test", None),
        *("train", "validation"),
        *(None, None, None),
    ]


def test_what_a_cutoff_leaves_unused_is_counted(write_folder: WriteFolder) -> None:
    notes = [str(note) for note in _prepare(write_folder, NOON).notes]
    assert notes == [
        "interactions: event 'e' of user 'u': it follows the user's first event from the cutoff "
        "2024-05-15 12:00:00 UTC on, which is the test (1 event not used); "
        "a later cutoff uses more of them",
        "interactions: event 'c' of user 'w': its user is one of 1 without an event before the "
        "cutoff 2024-05-15 12:00:00 UTC (3 events not used); nothing to do, or choose a later "
        "cutoff",
    ]


@pytest.mark.parametrize(
    ("cutoff", "problem"),
    [
        ("2023-01-01", r"\(2023-01-01 00:00:00 UTC\): nothing lies before it"),
        ("20230101", r"\(2023-01-01 00:00:00 UTC\): nothing lies before it"),
        (f"{NOON - 3 * HOUR}", "nothing lies before it"),
        (f"{NOON + 3 * HOUR}000", r"\(2024-05-15 15:00:00 UTC\): nothing lies from it on"),
        ("5", "nothing lies before it"),
        ("-1", "nothing lies before it"),
        ("nan", "neither a number nor an ISO time"),
        ("inf", "neither a number nor an ISO time"),
        ("", "neither a number nor an ISO time"),
        ("15 May", "neither a number nor an ISO time"),
    ],
)
def test_a_cutoff_outside_the_data_is_refused_with_their_range(
    write_folder: WriteFolder, cutoff: str, problem: str
) -> None:
    message = f"--cutoff '{cutoff}'.*{problem}"
    with pytest.raises(InputError, match=message) as error:
        _prepare(write_folder, cutoff)
    span = "run from 2024-05-15 09:00:00 UTC to 2024-05-15 14:00:00 UTC"
    assert span in str(error.value)
    assert "\n" not in str(error.value)


def test_a_position_cuts_positions(write_folder: WriteFolder) -> None:
    rows = "user_id,item_id,timestamp\nu,a,10\nu,b,20\nu,c,30\n"
    folder = write_folder(interactions=rows, queries=None, qrels=None)
    assert load_dataset(folder, "temporal", "25").protocol.cutoff == 25.0
    with pytest.raises(InputError, match="run from 10 to 30"):
        load_dataset(folder, "temporal", "2024-05-15")


def test_without_times_nothing_can_be_cut(write_folder: WriteFolder) -> None:
    with pytest.raises(InputError, match="no table has timestamps"):
        load_dataset(write_folder(interactions=None), "temporal", "2024-05-15")


def test_queries_without_a_time_are_counted(write_folder: WriteFolder) -> None:
    folder = write_folder(
        interactions=None,
        queries=f"query_id,text,timestamp\nq1,one,{NOON}\nq2,two,\nq3,three,{NOON + HOUR}\n",
        qrels="query_id,item_id\nq1,a\nq2,b\nq3,c\n",
    )
    (note,) = load_dataset(folder, "temporal", "2024-05-15T12:30").notes
    assert (note.count, note.unit, note.effect) == (1, "query", "trained on")
    assert note.place == "query 'q2'"


def test_a_prepared_folder_takes_its_own_cutoff_in_any_form(write_folder: WriteFolder) -> None:
    dataset = _prepare(write_folder, NOON)
    folder = write_folder("other") / "prepared"
    save_dataset(dataset, folder)
    assert load_dataset(folder, "temporal", "2024-05-15T12:00Z").digest == dataset.digest
    with pytest.raises(InputError, match="is split by the cutoff 2024-05-15 12:00:00 UTC; "):
        load_dataset(folder, "temporal", "2024-05-15T13:00Z")


def test_training_queries_after_the_cutoff_are_counted(write_folder: WriteFolder) -> None:
    queries = (
        "query_id,text,split,timestamp\nq1,one,train,101\nq2,two,train,102\nq3,three,test,100\n"
        "q4,four,,103\n"
    )
    folder = write_folder(queries=queries, qrels="query_id,item_id\nq1,a\nq2,b\nq3,a\nq4,a\n")
    dataset = load_dataset(folder, split="temporal", cutoff=102)
    assert dataset.queries["split"].to_list() == ["train", "train", "test", "test"]
    (note,) = (note for note in dataset.notes if "names the split train" in note.problem)
    assert str(note) == (
        "query 'q2': it names the split train and lies at or after the cutoff 102 (1 query trained "
        "on, as it says); leave its split empty: then the cutoff decides"
    )
