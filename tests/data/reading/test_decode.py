"""UTF-8 with or without a mark, UTF-16 and UTF-32 with one; anything else names what to do."""

import codecs
import gzip
import subprocess
from pathlib import Path

import pytest

from tests.data.reading.tables import read, rows
from twofold.records import InputError

TEXT = "item_id,title\n1,Amélie 映画\n"
ROWS = [("1", "Amélie 映画")]


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".csv.gz"])
def test_a_byte_order_mark_says_the_encoding(
    tmp_path: Path, mark: bytes, encoding: str, suffix: str
) -> None:
    text = {
        ".tsv": TEXT.replace(",", "\t"),
        ".jsonl": '{"item_id": 1, "title": "Amélie 映画"}\n',
    }.get(suffix, TEXT)
    data = mark + text.encode(encoding)
    table = read(tmp_path, f"items{suffix}", gzip.compress(data) if ".gz" in suffix else data)
    assert table.rows.columns == ["item_id", "title"]
    assert rows(table) == ROWS


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("windows-1252", "Amélie — “Noir”"),
        ("windows-1252", "Müller"),
        ("windows-1252", "Garçon, Été, Ñandú"),
        ("windows-1251", "Война и мир"),
        ("gb18030", "重庆森林"),
        ("shift_jis", "となりのトトロ"),
        ("shift_jis", "東京物語"),
        ("big5", "海角七號與臺北的故事"),
        ("euc-kr", "기생충"),
    ],
)
def test_another_encoding_is_shown_as_it_would_read(
    tmp_path: Path, encoding: str, text: str
) -> None:
    data = f"item_id,title\n1,x\n2,{text}\n".encode(encoding)
    with pytest.raises(InputError) as error:
        read(tmp_path, "items.csv", data)
    message = str(error.value)
    assert f"{tmp_path}/items.csv line 3: byte 0x" in message
    command = message.partition("): ")[2].split(" > ")[0].split()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode("utf-8") == data.decode(encoding)


def test_one_broken_line_of_a_file_in_utf8_is_to_be_corrected(tmp_path: Path) -> None:
    data = "item_id,title\n1,Amélie\n2,Müller\n3,Čapek\n".encode() + b"4,caf\xc3\n"
    with pytest.raises(InputError, match=r"line 5: byte 0xc3 is not UTF-8, unlike .*; correct"):
        read(tmp_path, "items.csv", data)


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is UTF-16 without a byte order mark") as error:
        read(tmp_path, "items.csv", TEXT.encode(name))
    command = str(error.value).partition(": iconv")[2].split(" > ")[0]
    done = subprocess.run(
        ["iconv", *command.split()], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.decode() == TEXT


def test_broken_utf16_names_the_line(tmp_path: Path) -> None:
    data = codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le") + b"\x00\xdc,\x00"
    with pytest.raises(InputError, match=r"items.csv line 3: byte 0x00 is not UTF-16-LE, unlike"):
        read(tmp_path, "items.csv", data)


def test_a_zero_byte_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"items.csv line 2: has a NUL byte"):
        read(tmp_path, "items.csv", "item_id,title\n1,a\0b\n")


@pytest.mark.parametrize("zeros", [1, 5000])
def test_zero_bytes_at_the_end_are_no_utf_16(tmp_path: Path, zeros: int) -> None:
    message = f"items.csv line 3: ends with {zeros} NUL bytes, .*; write it again, or check"
    with pytest.raises(InputError, match=message):
        read(tmp_path, "items.csv", "item_id,title\n1,a\n2,b" + "\0" * zeros)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "the compressed data are corrupt"),
        (gzip.compress(TEXT.encode() * 99, mtime=0)[:40], "the compressed data are corrupt"),
        (b"PK\x03\x04rest", "is a zip archive"),
        (b"SQLite format 3\0\0\1", "is a SQLite database; write its tables as CSV"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html>", "is a web page, perhaps instead of a download"),
        (b"PAR1rest", "is a Parquet file; name it .parquet"),
        (b"BZh9rest", "is compressed with bzip2; unpack it"),
        (b"\xd0\xcf\x11\xe0rest", "is a spreadsheet workbook; save it as CSV UTF-8"),
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (codecs.BOM_UTF8, "the file is empty"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, "items.csv.gz", data)
