"""An id that is not known: the message shows how it is written elsewhere, and how to repair it."""

import pytest

from tests.conftest import WriteFolder
from twofold.data.checks import same_id_otherwise
from twofold.data.sources import read_source
from twofold.records import InputError


@pytest.mark.parametrize(
    ("value", "known", "message"),
    [
        ("6.0", "6", "which has '6'; pandas writes integers as floats"),
        ("6", "6.0", "which has '6.0'; pandas"),
        ("0", "0.00", "which has '0.00'; pandas"),
        ("6.00", "6.0", "which has '6.0'; pandas"),
        (" 6", "6", "which has '6'; remove the whitespace"),
        ("6", "6 ", "which has '6 '; write it in the same way"),
        ("6", "006", "which has '006'; a spreadsheet has removed its leading zeros"),
        ("006", "6", "which has '6'; a spreadsheet"),
        ("0", "000", "which has '000'; a spreadsheet"),
        ("00", "0", "which has '0'; a spreadsheet"),
        ("a\u200bb", "ab", "which has 'ab'; remove the invisible characters in it"),
        ("\ufeff6", "6", "which has '6'; remove the invisible characters in it"),
        ("B00a", "b00A", "which has 'b00A'; write it in the same way"),
        ("cafe\u0301", "café", "which has 'café'; the two differ in their Unicode"),
    ],
)
def test_an_id_that_is_written_otherwise_is_shown(value: str, known: str, message: str) -> None:
    found = same_id_otherwise(value, {known, "x"})
    assert found is not None
    assert found.startswith(message)


@pytest.mark.parametrize("value", ["7", "", ".0", "0", "7.0", "6.05"])
def test_other_ids_are_not_alike(value: str) -> None:
    assert same_id_otherwise(value, {"6", "10", "x"}) is None


def test_ids_that_pandas_made_fractions_of_are_explained(write_folder: WriteFolder) -> None:
    folder = write_folder(
        items="item_id,title\n1,One\n2,Two\n",
        interactions="user_id,item_id\nu,1.0\nu,2.0\nu,1.0\n",
        queries=None,
        qrels=None,
    )
    with pytest.raises(InputError) as error:
        read_source(folder)
    assert str(error.value) == (
        f"{folder}/interactions.csv line 2: item_id '1.0' is not in the table items (3 such rows), "
        "which has '1'; pandas writes integers as floats if a value of the column is "
        "missing: write it with .astype('Int64'), or read it with dtype=str"
    )


def test_an_id_of_blanks_is_empty(write_folder: WriteFolder) -> None:
    with pytest.raises(InputError, match=r"interactions.csv line 2: item_id is empty"):
        read_source(write_folder(interactions="user_id,item_id\nu,  \n"))


@pytest.mark.parametrize(("user", "asked"), [("1", "1.0"), ("1.0", "1")])
def test_users_whom_pandas_made_fractions_of_are_explained(
    write_folder: WriteFolder, user: str, asked: str
) -> None:
    folder = write_folder(
        interactions=f"user_id,item_id\n{user},a\n",
        queries=f"query_id,text,user_id\nq1,one,\nq2,two,u9\nq3,three,{asked}\n",
    )
    with pytest.raises(InputError) as error:
        read_source(folder)
    assert str(error.value).startswith(
        f"{folder}/queries.csv line 4: user_id '{asked}' is not in the table interactions, "
        f"which has '{user}'; pandas writes integers as floats"
    )


def test_a_table_without_a_header_is_told_so(write_folder: WriteFolder) -> None:
    folder = write_folder(interactions="u1,a,1\nu1,b,2\n")
    with pytest.raises(InputError, match=r"among u1, a, 1; .*, or begin the file with the header"):
        read_source(folder)


def test_a_first_row_with_equal_cells_may_be_no_header(write_folder: WriteFolder) -> None:
    folder = write_folder(interactions="1,a,1\nu1,b,2\n")
    with pytest.raises(InputError, match=r"'1' occurs twice .* or begin the file with the header"):
        read_source(folder)


@pytest.mark.parametrize("name", ["Item_ID", "itemId", "item id", "ITEM-ID"])
def test_a_column_of_almost_the_name_is_shown(write_folder: WriteFolder, name: str) -> None:
    message = f"no column 'item_id' among {name}, title; add it, or rename '{name}'"
    with pytest.raises(InputError, match=message):
        read_source(write_folder(items=f"{name},title\na,A\n"))


@pytest.mark.parametrize(
    ("header", "missing", "likely", "what"),
    [
        ("session_id,item_id", "user_id", "session_id", "users"),
        ("user_id,productId", "item_id", "productId", "items"),
        ("user_id,business_id", "item_id", "business_id", "items"),
        ("reviewerID,item_id", "user_id", "reviewerID", "users"),
        ("customer,item_id", "user_id", "customer", "users"),
    ],
)
def test_a_column_of_another_usual_name_is_shown(
    write_folder: WriteFolder, header: str, missing: str, likely: str, what: str
) -> None:
    rows = f"{header}\nu1,a\nu1,b\n"
    folder = write_folder(items=None, queries=None, qrels=None, interactions=rows)
    with pytest.raises(InputError) as error:
        read_source(folder)
    assert str(error.value).endswith(
        f"no column '{missing}' among {header.replace(',', ', ')}; "
        f"add it, or rename '{likely}', if it holds the {what}"
    )


SWAPPED = "the two columns are swapped, exchange their names$"


@pytest.mark.parametrize("skip_unknown", [False, True])
def test_swapped_columns_are_named(write_folder: WriteFolder, skip_unknown: bool) -> None:
    users = "item_id,user_id\nu1,a\nu1,b\nu2,a\n"
    with pytest.raises(InputError, match=rf"item.* but those of user_id are: if {SWAPPED}"):
        read_source(write_folder(interactions=users), skip_unknown)
    judged = "item_id,query_id,relevance\nq1,a,1\nq2,b,1\n"
    with pytest.raises(InputError, match=rf"query.* but those of item_id are: if {SWAPPED}"):
        read_source(write_folder("other", qrels=judged), skip_unknown)


def test_an_incomplete_catalog_is_not_taken_for_swapped_columns(write_folder: WriteFolder) -> None:
    items, events = "item_id,title\n1,Oak\n2,Ash\n3,Elm\n", "user_id,item_id\n1,9\n2,8\n3,1\n"
    with pytest.raises(InputError, match=r"item_id '9' is not .*--skip-unknown"):
        read_source(write_folder(items=items, interactions=events, queries=None, qrels=None))
