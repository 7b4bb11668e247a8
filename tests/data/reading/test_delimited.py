"""CSV as spreadsheets read it, TSV as it stands; every row kept, counted, or refused by line."""

import csv
import io
import random
from pathlib import Path

import pytest

from tests.data.reading.tables import notes, read, rows
from twofold.records import InputError


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('24" screen', '24" screen'),
        ('12" x 10"', '12" x 10"'),
        ('"24"" screen"', '24" screen'),
        ('"a, b"', "a, b"),
        ('"two\nlines"', "two\nlines"),
        ('"two\r\nlines"', "two\r\nlines"),
        ('""', None),
        ("", None),
        (' "Oak"', ' "Oak"'),
        ("NaN", "NaN"),
        ("line\u2028separator", "line\u2028separator"),
        ("next\x85line\x0bpage\x0c", "next\x85line\x0bpage\x0c"),
        ("x" * 150_000, "x" * 150_000),
        ('"' + "y" * 150_000 + '"', "y" * 150_000),
    ],
)
def test_a_cell_of_csv(tmp_path: Path, cell: str, value: str | None) -> None:
    table = read(tmp_path, "items.csv", f"item_id,title,text\n1,{cell},z\n2,B,y\n")
    assert rows(table) == [("1", value, "z"), ("2", "B", "y")]
    assert not table.notes


@pytest.mark.parametrize(
    "footer", ["Total rows: 5", "Total rows: 5,,", "(2 rows)", "2 Zeilen,,\n,,", '"Total\nrows",,']
)
@pytest.mark.parametrize("name", ["items.csv", "items.tsv"])
def test_a_text_below_the_table_is_no_row(tmp_path: Path, footer: str, name: str) -> None:
    text = f"item_id,title,genre\n1,A,x\n2,,y\n\n{footer}\n"
    if name.endswith("tsv"):
        if '"' in footer:
            return
        text = text.replace(",", "\t")
    with pytest.raises(InputError, match=rf"{name} line 5: .* looks like a text below the table"):
        read(tmp_path, name, text)


@pytest.mark.parametrize(
    "text",
    [
        "item_id,title\n1,A\nlast,\n",
        "item_id,title\n1,A\nan id,\n2,B\n",
        "item_id,title\nan id,A\nlast one,\n",
        "item_id,title\n1,\nlast one,\n",
        "item_id\n1\nlast one\n",
        "item_id,title\nlast one,A\n",
    ],
)
def test_a_row_without_other_cells_is_a_row(tmp_path: Path, text: str) -> None:
    assert len(rows(read(tmp_path, "items.csv", text))) == text.count("\n") - 1


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('item_id,title\n1,A\n2,"Oak" is back\n', 3, "has text after its closing quote"),
        ('item_id,title\n1,A\n2,"He said \\"hi\\""\n', 3, "has text after its closing quote"),
        (
            'item_id,title\n1,A\n2,"24 inch\n3,C\n',
            3,
            "has no closing quote .*read up to line 4",
        ),
        ('item_id,title\n1,"24 inch\n2,"B"\n', 2, "has text after .*read up to line 3"),
        ('"item_id","title"\n"1","two\nlines"\n2,"\n', 4, "has no closing quote"),
    ],
)
def test_a_stray_quote_names_the_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    with pytest.raises(InputError, match=f"items.csv line {line}: .*{problem}.*write a quote"):
        read(tmp_path, "items.csv", text)


def test_a_cell_that_swallows_rows_is_noted(tmp_path: Path) -> None:
    table = read(tmp_path, "items.csv", 'item_id,title\n1,"A\n2,B"\n3,C\n')
    assert rows(table) == [("1", "A\n2,B"), ("3", "C")]
    assert notes(table) == [
        "items.csv line 2: a quoted cell continues up to line 3, and each line looks like a row "
        "(1 cell read over several lines); if they are rows, remove the quotes or double "
        "them"
    ]


def test_a_cell_that_swallows_many_rows_is_refused(tmp_path: Path) -> None:
    lines = ["item_id,title,text", *(f"{n},T{n},x" for n in range(9))]
    lines[3], lines[6] = '2,"T2,x', '5,T5",x'
    with pytest.raises(InputError, match="line 4: a quoted cell continues up to line 7, and each"):
        read(tmp_path, "items.csv", "\n".join(lines))


def test_texts_of_many_lines_may_look_like_rows_now_and_then(tmp_path: Path) -> None:
    verse = '"a\nb, c\nd, e"'
    table = read(tmp_path, "items.csv", f'item_id,title\n1,{verse}\n2,"f\ng"\n')
    assert rows(table) == [("1", "a\nb, c\nd, e"), ("2", "f\ng")]
    assert notes(table)[0].startswith("items.csv line 2: a quoted cell continues up to line 4")
    assert not read(tmp_path, "ids.csv", 'item_id\n"1\n2\n3"\n').notes


def test_a_text_of_many_lines_is_no_stray_quote(tmp_path: Path) -> None:
    text = "first, second\nthird\nand, one, more"
    table = read(tmp_path, "items.csv", f'item_id,title\n1,"{text}"\n')
    assert rows(table) == [("1", text)]
    assert not table.notes


def test_a_line_before_the_header_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2: 2 fields, the header has 1; is the first line"):
        read(tmp_path, "items.csv", "# exported today\nitem_id,title\n1,A\n")


@pytest.mark.parametrize(
    "cell", ['"Oak" is back', '"Oak"', '24" screen', '"', "a,b", ' " ', '"two', "", "; ,"]
)
def test_a_quote_is_a_character_in_tsv(tmp_path: Path, cell: str) -> None:
    table = read(tmp_path, "items.tsv", f"item_id\ttitle\ttext\n1\t{cell}\tz\n2\tB\ty\n")
    assert rows(table) == [("1", cell or None, "z"), ("2", "B", "y")]
    enclosed = "a cell begins and ends with a quote, which is a character in TSV (1 cell"
    assert [enclosed in note for note in notes(table)] == ([True] if cell == '"Oak"' else [])


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoted", [False, True])
def test_lines_of_blanks_are_no_rows(tmp_path: Path, suffix: str, end: str, quoted: bool) -> None:
    title = '"A b"' if quoted and suffix == ".csv" else "A b"
    lines = ["", "item_id,title", "", f"1,{title}", "   ", "2,B", "", "", "3,C", "", " ", ""]
    text = end.join(lines).replace(",", "\t" if suffix == ".tsv" else ",")
    table = read(tmp_path, f"items{suffix}", text)
    assert rows(table) == [("1", "A b"), ("2", "B"), ("3", "C")]
    assert [table.place(n).rpartition(" ")[2] for n in range(3)] == ["4", "6", "9"]
    assert not table.notes


@pytest.mark.parametrize("title", ["A", '"A"', '"A\nb"'])
def test_rows_without_any_value_are_left_out_with_a_note(tmp_path: Path, title: str) -> None:
    table = read(tmp_path, "items.csv", f'item_id,title\n1,{title}\n,\n2,B\n , \n"",""\n')
    assert table.rows["item_id"].to_list() == ["1", "2"]
    line = 3 + title.count("\n")
    assert notes(table) == [
        f"items.csv line {line}: every cell is empty (3 rows left out); remove it"
    ]


@pytest.mark.parametrize("quote", ["", '"'])
def test_short_rows_are_filled_and_counted(tmp_path: Path, quote: str) -> None:
    table = read(tmp_path, "items.csv", f"item_id,title,text\n1,{quote}A{quote},x\n2,B\n3\n")
    assert rows(table) == [("1", "A", "x"), ("2", "B", None), ("3", None, None)]
    assert notes(table) == [
        "items.csv line 3: 2 fields where the header has 3 (2 rows filled with empty cells); "
        "write every delimiter, also before empty cells"
    ]


@pytest.mark.parametrize("first", ["A", '"A"', '"A\nb"', "A" * 150_000])
def test_a_long_row_is_an_error_with_its_line(tmp_path: Path, first: str) -> None:
    line = 3 + first.count("\n")
    with pytest.raises(InputError, match=f"line {line}: 4 fields, the header has 2; enclose"):
        read(tmp_path, "items.csv", f"item_id,title\n1,{first}\n2,B,C,D\n")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_the_header_says_the_delimiter(tmp_path: Path, delimiter: str, quote: str) -> None:
    text = f"item_id,title,text\n1,{quote}A;b{quote},x\n".replace(",", delimiter)
    text = text.replace("A;b", "A, b") if not quote else text
    table = read(tmp_path, "items.csv", text)
    assert rows(table) == [("1", "A;b" if quote else "A, b", "x")]
    assert "the delimiter is" in notes(table)[0]


def test_a_spreadsheet_names_the_delimiter_before_the_header(tmp_path: Path) -> None:
    table = read(tmp_path, "items.csv", 'sep=;\r\nitem_id;title\r\n1;"A"\r\n2;B,c\r\n')
    assert rows(table) == [("1", "A"), ("2", "B,c")]
    assert table.place(1).endswith("line 4")


@pytest.mark.parametrize("text", ["sep=;", "sep=;\n\n", '"sep=;"\n'])
def test_a_delimiter_alone_is_no_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="no row below the header"):
        read(tmp_path, "items.csv", text)


def test_a_comma_in_a_quoted_name_divides_nothing(tmp_path: Path) -> None:
    table = read(tmp_path, "items.csv", 'item_id;title;"a, b, c, d"\n1;A;x\n')
    assert table.rows.columns == ["item_id", "title", "a, b, c, d"]


def test_tsv_that_is_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is separated by ',', not by tabs; name the file .csv"):
        read(tmp_path, "items.tsv", "item_id,title\n1,A\n")
    with pytest.raises(InputError, match=r"quotes enclose the cells of the header.*name .* .csv"):
        read(tmp_path, "items.tsv", '"item_id"\t"title"\n"1"\t"A"\n')


def test_one_column_needs_no_delimiter(tmp_path: Path) -> None:
    for name in ("ids.csv", "ids.tsv"):
        assert rows(read(tmp_path, name, "item_id\n1\n\n2\n")) == [("1",), ("2",)]


def with_stray_quotes(seed: int) -> str:
    """A CSV file with quotes anywhere, and line feeds within cells now and then."""
    draw = random.Random(seed)
    lines = []
    for number in range(draw.randint(1, 8)):
        cells = [f'"{number}"' if draw.random() < 0.2 else str(number)]
        for _ in range(draw.choice([2, 2, 2, 2, 2, 1])):
            word = draw.choice(["oak", "24 inch", "", "a b", "x\ny", "1,5"])
            kind = draw.random()
            if kind < 0.3:
                word = f'"{word}"'
            elif kind < 0.45 and "\n" not in word and "," not in word:
                at = draw.randint(0, len(word))
                word = f'{word[:at]}"{word[at:]}'
            else:
                word = word.replace("\n", " ").replace(",", ".")
            cells.append(word)
        lines.append(",".join(cells))
    return "item_id,title,text\n" + draw.choice(["\n", "\r\n"]).join(lines) + "\n"


def test_stray_quotes_are_read_as_the_csv_module_does_or_refused(tmp_path: Path) -> None:
    """500 made files: equal to the csv module, or refused at a row that does hold a quote."""
    equal = refused = 0
    for seed in range(500):
        text = with_stray_quotes(seed)
        expected = [[c or None for c in row] for row in csv.reader(io.StringIO(text, newline=""))]
        try:
            table = read(tmp_path, "items.csv", text)
        except InputError as error:
            line = int(str(error).partition(" line ")[2].partition(":")[0])
            begins = [(n, row) for n, row in with_lines(text) if n == line]
            assert begins, f"{seed}: no row begins on line {line}"
            assert is_wrong(text, line), seed
            refused += 1
            continue
        filled = [row + [None] * (3 - len(row)) for row in expected[1:]]
        kept = [tuple(row) for row in filled if any(v and v.strip() for v in row)]
        assert rows(table) == kept, seed
        left_out = sum(note.rows_left_out for note in table.notes)
        blank = sum(1 for row in expected[1:] if len(row) <= 1 and not (row and row[0]))
        assert len(kept) + left_out + blank == len(filled), seed
        equal += 1
    assert equal > 150
    assert refused > 100


def with_lines(text: str) -> list[tuple[int, list[str]]]:
    """The rows of the csv module, each with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""))
    found, start = [], 1
    for row in reader:
        found.append((start, row))
        start = reader.line_num + 1
    return found


def is_wrong(text: str, line: int) -> bool:
    """Whether the row on a line has a stray quote or too many cells, and no row before it has."""
    lines = io.StringIO(text, newline="").readlines()
    before = "".join(lines[: line - 1])
    try:
        strict = list(csv.reader(io.StringIO(before, newline=""), strict=True))
    except csv.Error:
        return False
    if any(len(row) > 3 for row in strict):
        return False
    reader = csv.reader(io.StringIO("".join(lines[line - 1 :]), newline=""), strict=True)
    try:
        return len(next(reader)) > 3
    except csv.Error:
        return True


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(
    ("header", "row", "shown"),
    [
        (",", ";", "rows are separated by ';' and the header by ','"),
        (";", ",", "rows are separated by ',' and the header by ';'"),
        (",", "\t", r"rows are separated by '\\t' and the header by ','"),
    ],
)
def test_a_header_divided_otherwise_than_the_rows_is_named(
    tmp_path: Path, header: str, row: str, shown: str, quote: str
) -> None:
    lines = [["item_id", "title"], ["a", f"{quote}Alpha{quote}"], ["b", "Beta"]]
    text = "\n".join([header.join(lines[0]), *(row.join(line) for line in lines[1:])])
    with pytest.raises(InputError, match=f"line 2: the {shown}; use one delimiter everywhere"):
        read(tmp_path, "items.csv", text)


def test_rows_of_one_cell_may_hold_a_delimiter_now_and_then(tmp_path: Path) -> None:
    table = read(tmp_path, "items.csv", "item_id,title\na;1\nb\n")
    assert rows(table) == [("a;1", None), ("b", None)]
