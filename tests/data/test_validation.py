"""Each mistake in a dataset gets one message with the place, the value and the remedy."""

import pytest

from tests.conftest import INTERACTIONS, ITEMS, QRELS, QUERIES, WriteFolder
from twofold.data.sources import read_source
from twofold.records import InputError

CASES: dict[str, tuple[dict[str, str | None], str]] = {
    "a missing table": ({"items": None}, "no table items; add items.csv"),
    "queries without qrels": ({"qrels": None}, "no table qrels; add qrels.csv"),
    "qrels without queries": ({"queries": None}, "no table queries; add queries.csv"),
    "a missing column": (
        {"items": "id,title\na,Alpha\n"},
        "items.csv: no column 'item_id' among id, title; add it",
    ),
    "an empty file": ({"interactions": ""}, "interactions.csv: the file is empty"),
    "a header alone": ({"items": "item_id,title\n"}, "items.csv: no row below the header"),
    "a duplicate item": (
        {"items": ITEMS + "a,Again,\n"},
        "items.csv line 7: item_id 'a' occurs already on line 2; keep one",
    ),
    "an empty id": ({"items": ITEMS + ",Nameless,\n"}, "items.csv line 7: item_id is empty"),
    "an unknown item in interactions": (
        {"interactions": INTERACTIONS + "u9,zz,5\n"},
        r"interactions.csv line 16: item_id 'zz' is not in the table items \(1 such row\); add it",
    ),
    "an unknown item in qrels": (
        {"qrels": QRELS + "q1,zz,1\n"},
        "qrels.csv line 6: item_id 'zz' is not in the table items",
    ),
    "an unknown query": (
        {"qrels": QRELS + "q9,a,1\n"},
        "qrels.csv line 6: query_id 'q9' is not in the table queries",
    ),
    "an unparsable timestamp": (
        {"interactions": INTERACTIONS + "u9,a,yesterday\n"},
        "interactions.csv line 16: timestamp 'yesterday' is neither a number nor an ISO time",
    ),
    "a missing timestamp": (
        {"interactions": INTERACTIONS + "u9,a,\n"},
        "interactions.csv line 16: timestamp is empty while other rows have one",
    ),
    "an unknown split": (
        {"queries": QUERIES + "q4,more,holdout\n"},
        "queries.csv line 5: split 'holdout' is none of train, validation, test .*; rename it",
    ),
    "a relevance that is not a number": (
        {"qrels": QRELS + "q1,b,high\n"},
        "qrels.csv line 6: relevance 'high' is not an integer",
    ),
    "items alone": (
        {"interactions": None, "queries": None, "qrels": None},
        "has items only; add interactions.csv, or queries.csv with qrels.csv",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_named_with_its_remedy(write_folder: WriteFolder, case: str) -> None:
    changes, message = CASES[case]
    with pytest.raises(InputError, match=message) as error:
        read_source(write_folder(**changes))
    assert "\n" not in str(error.value)


def test_an_extra_column_does_not_hide_a_missing_timestamp(write_folder: WriteFolder) -> None:
    rows = "user_id,item_id,timestamp,query_id\nu,a,5,\nu,b,,q\n"
    with pytest.raises(InputError, match=r"interactions.csv line 3: timestamp is empty"):
        read_source(write_folder(interactions=rows))


def test_rows_that_cannot_be_used_are_counted(write_folder: WriteFolder) -> None:
    folder = write_folder(
        queries=QUERIES + "q4, ,train\nq5,unjudged,train\n", qrels=QRELS + "q4,a,1\nq1,b,0\n"
    )
    dataset = read_source(folder)
    assert [str(note) for note in dataset.notes] == [
        f"{folder}/queries.csv line 5: query 'q4' has no text (1 row left out); give it a text",
        f"{folder}/qrels.csv line 7: relevance 0 judges the item as not relevant "
        f"(1 row left out); nothing to do",
        f"{folder}/qrels.csv line 6: query 'q4' has no text (1 row left out); give it a text",
        f"{folder}/queries.csv line 6: query 'q5' has no relevant item in qrels "
        f"(1 row left out); judge at least one item for it",
    ]
    assert dataset.queries.height == 4
    assert dataset.qrels.height == 4


@pytest.mark.parametrize("named", ["dev", "val", "valid", "validation", "Dev", " VALIDATION "])
def test_a_split_goes_by_the_names_that_people_use(write_folder: WriteFolder, named: str) -> None:
    queries = f"query_id,text,split\nq1,one,{named}\nq2,two,Train\nq3,three,TEST\n"
    dataset = read_source(write_folder(queries=queries))
    assert dataset.queries["split"].to_list() == ["validation", "train", "test"]


@pytest.mark.parametrize("text", ["", "   ", "\u200b", "\ufeff\u2060 ", "\u3164"])
def test_a_query_in_which_nothing_can_be_seen_has_no_text(
    write_folder: WriteFolder, text: str
) -> None:
    dataset = read_source(write_folder(queries=f"query_id,text\nq1,one\nq2,{text}\nq3,three\n"))
    assert dataset.queries["query_id"].to_list() == ["q1", "q3"]
    assert "query 'q2' has no text" in str([str(note) for note in dataset.notes])


def test_columns_that_are_not_used_are_named(write_folder: WriteFolder) -> None:
    events = "user_id,item_id,rating,device,timestamp\nu,a,0.5,tv,5\nu,b,5,tv,6\n"
    folder = write_folder(
        interactions=events,
        queries="query_id,text,page\nq1,one,3\nq2,two,1\nq3,three,1\n",
        qrels="query_id,iteration,item_id,grade\nq1,0,a,2\nq2,0,b,1\nq3,0,c,1\n",
    )
    notes = [str(note).replace(f"{folder}/", "") for note in read_source(folder).notes]
    assert notes[:3] == [
        "interactions.csv: columns 'rating', 'device' are not used (2 columns not read); every "
        "row counts as an event, whatever its rating: remove rows that are not a choice",
        "queries.csv: column 'page' is not used (1 column not read); nothing to do",
        "qrels.csv: column 'grade' is not used (1 column not read); if 'grade' is the relevance, "
        "rename it 'relevance': every row is a relevant item until then",
    ]
    assert not read_source(write_folder("plain")).notes


def test_a_time_by_another_name_is_named(write_folder: WriteFolder) -> None:
    events = "user_id,item_id,Event Time\nu,b,6\nu,a,5\n"
    (note,) = read_source(write_folder(interactions=events)).notes
    assert "if 'Event Time' is the timestamp, rename it 'timestamp': the file order" in str(note)
    timed = "user_id,item_id,date,timestamp\nu,b,monday,6\nu,a,sunday,5\n"
    (note,) = read_source(write_folder("timed", interactions=timed)).notes
    assert note.remedy == "nothing to do"


def _queries_of(users: str, *times: object) -> str:
    rows = zip("123", users.split(), times or ("", "", ""), strict=True)
    return "query_id,text,user_id,timestamp\n" + "".join(
        f"q{n},word {n},{user},{time}\n" for n, user, time in rows
    )


@pytest.mark.parametrize(
    ("queries", "note"),
    [
        (
            _queries_of("u1 x8 x9", 500, 500, 500),
            "line 3: user 'x8' of query 'q2' has no interaction (2 queries used without a "
            "history); nothing to do, unless the two tables write a user in different ways",
        ),
        (
            _queries_of("u1 u2 u3"),
            "line 2: query 'q1' or the interactions of its user 'u1' have no timestamp, and a "
            "history is what lies before a query (3 queries used without a history); add one to "
            "both tables",
        ),
        (
            _queries_of("u1 u2 u3", 1, 2, 100),
            "line 2: every query lies before the first interaction of its user, such as 'q1' of "
            "'u1' (3 queries used without a history); nothing to do, unless the times of one of "
            "the tables are wrong",
        ),
    ],
)
def test_queries_of_users_that_bring_no_history_are_counted(
    write_folder: WriteFolder, queries: str, note: str
) -> None:
    folder = write_folder(queries=queries)
    assert [str(n).replace(f"{folder}/queries.csv ", "") for n in read_source(folder).notes] == [
        note
    ]


def test_some_queries_before_a_users_first_event_are_as_they_should_be(
    write_folder: WriteFolder,
) -> None:
    assert not read_source(write_folder(queries=_queries_of("u1 u2 u3", 1, 2, 101))).notes
    only_search = write_folder("search", interactions=None, queries=_queries_of("u1 u2 u3"))
    assert not read_source(only_search).notes


def test_a_split_of_interactions_is_said_not_to_count(write_folder: WriteFolder) -> None:
    events = "user_id,item_id,split\nu1,a,train\nu1,b,test\n"
    (note,) = read_source(write_folder(interactions=events)).notes
    assert note.problem == "column 'split' is not used"
    assert note.remedy == "interactions are split by --split last or temporal, not by 'split'"


@pytest.mark.parametrize(
    ("table", "text", "named", "meant"),
    [
        ("interactions", "user_id,item_id,Timestamp\nu,b,6\nu,a,5\n", "Timestamp", "timestamp"),
        ("qrels", "query_id,item_id,Relevance\nq1,a,0\nq2,b,1\n", "Relevance", "relevance"),
        ("queries", "query_id,text,User ID\nq1,one,u\nq2,two,u\nq3,c,u\n", "User ID", "user_id"),
    ],
)
def test_an_optional_column_of_almost_the_name_is_to_be_renamed(
    write_folder: WriteFolder, table: str, text: str, named: str, meant: str
) -> None:
    notes = [str(note) for note in read_source(write_folder(**{table: text})).notes]
    assert any(f"if '{named}' is the {meant}, rename it '{meant}'" in note for note in notes)


@pytest.mark.parametrize(
    ("years", "has_note"),
    [
        (("1999.0", "", "2001.0"), True),
        (("1999.0", "2000.0", "2001.0"), False),
        (("1999.0", "", "2000.5"), False),
        (("1999", "", "2001"), False),
    ],
)
def test_years_that_pandas_made_fractions_of_get_a_note(
    write_folder: WriteFolder, years: tuple[str, ...], has_note: bool
) -> None:
    rows = "".join(f"{i},{i},{year}\n" for i, year in zip("abc", years, strict=True))
    folder = write_folder(
        items=f"item_id,title,year\n{rows}",
        interactions="user_id,item_id,timestamp\nu,a,1\nu,b,2\nu,c,3\n",
        queries=None,
        qrels=None,
    )
    dataset = read_source(folder)
    assert dataset.catalog.items["year"].to_list() == [year or None for year in years]
    notes = [str(note) for note in dataset.notes if "year" in note.problem]
    assert notes == has_note * [
        f"{folder}/items.csv line 2: year is 1999.0, as pandas writes integers if one is missing, "
        "and a filter for 1999 does not match it (2 values kept); write the column with "
        ".astype('Int64'), if it has integers"
    ]


def test_html_in_item_texts_is_noted(write_folder: WriteFolder) -> None:
    """Shops keep descriptions in HTML."""
    folder = write_folder(
        items="item_id,title,text\n"
        "a,A < B,a < b and b > c\n"
        'b,Drill,"<p class=""x"">A <b>drill</b> &amp; more</p>"\n'
        "c,Gamma,plain <3\n"
        "d,Delta,one<br/>two\n"
        "e,Alpha,<pilot> and <brand>\n"
    )
    assert str(read_source(folder).notes[0]).replace(f"{folder}/", "") == (
        'items.csv line 3: text has HTML, such as <p class="x">, and its tags are read as words '
        "(2 rows kept); remove the tags, and decode &amp; and the like, unless the text is about "
        "HTML"
    )


def test_texts_that_stand_for_a_missing_value_are_counted(write_folder: WriteFolder) -> None:
    """pandas writes nan where astype(str) comes before fillna."""
    folder = write_folder(
        items="item_id,title,text,colour\na,nan,None,None\nb,Oak,None,None\nc,nan,Ash,nan\nd,Elm,,\ne,Fir,,\n",
        queries="query_id,text\nq1,nan\nq2,lamp\nq3,NaN\n",
    )
    notes = [str(note).replace(f"{folder}/", "") for note in read_source(folder).notes]
    said = "which stands for a missing value in many tools, and is read as a word (2 rows kept); "
    assert [note.partition("leave")[0] for note in notes if "stands for" in note] == [
        f"items.csv line 2: title is 'nan', {said}",
        f"items.csv line 2: text is 'None', {said}",
        f"queries.csv line 2: text is 'nan', {said}",
    ]


def test_a_film_may_be_called_null(write_folder: WriteFolder) -> None:
    folder = write_folder(items="item_id,title\na,Null\nb,Oak\nc,Ash\nd,Elm\ne,Fir\n")
    assert not [note for note in read_source(folder).notes if "stands for" in note.problem]


def test_items_without_any_text_are_counted_if_there_are_queries(write_folder: WriteFolder) -> None:
    items = "item_id,title\na,\nb, \nc,\nd,\ne,\n"
    (note,) = (n for n in read_source(write_folder(items=items)).notes if "no item" in n.problem)
    assert (note.count, note.unit, note.effect) == (5, "item", "kept")
    assert not read_source(write_folder("r", items=items, queries=None, qrels=None)).notes
