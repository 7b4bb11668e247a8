"""Decompresses and decodes files: UTF-8, or UTF-16 and UTF-32 with a byte order mark."""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from twofold.data.reading.encodings import likely_encodings
from twofold.records import InputError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is a prefix of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive, as a workbook (.xlsx) is; unpack it, or save it as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet workbook; save it as CSV UTF-8"),
    (b"PAR1", "a Parquet file; name it .parquet"),
    (b"BZh", "compressed with bzip2; unpack it with bunzip2"),
    (b"\xfd7zXZ", "compressed with xz; unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it with unzstd"),
    (b"SQLite format 3\0", "a SQLite database; write its tables as CSV"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file: git lfs pull"),
    (b"<!DOCTYPE html", "a web page, perhaps instead of a download; download the file again"),
    (b"<!doctype html", "a web page, perhaps instead of a download; download the file again"),
    (b"<html", "a web page, perhaps instead of a download; download the file again"),
)
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader | gzip.GzipFile]:
    """A file to read from, decompressed if it is compressed with gzip.

    Raises:
        InputError: the file cannot be read, or its compressed data are corrupt.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(len(_GZIP)) == _GZIP
        with gzip.open(path) if compressed else path.open("rb") as data:
            yield data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: the compressed data are corrupt ({error}); copy or compress the file again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, decompressed; see `opened`."""
    with opened(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        InputError: the file cannot be read, or is not text in a known encoding; the message has
            line, byte and remedy.
    """
    return decode(path, read_bytes(path))


def decode(path: Path, data: bytes) -> str:
    """Decode `data`, the bytes of `path`; see `read_text`."""
    for magic, what in _OTHER_FORMATS:
        if data.startswith(magic):
            raise InputError(f"{path}: is {what}")
    mark, encoding = next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))
    if not mark and b"\0" in data:
        raise _with_zeros(path, data)
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(path, data, len(mark) + error.start, encoding) from error


def _undecodable(path: Path, data: bytes, position: int, encoding: str) -> InputError:
    """The error on a byte that is invalid in an encoding, with the encodings that would fit."""
    line = data[:position].decode(encoding, "ignore").count("\n") + 1
    problem = f"{path} line {line}: byte {data[position]:#04x} is not {encoding.upper()}"
    if encoding != "utf-8":
        return InputError(f"{problem}, unlike the beginning of the file; write the file again")
    if _is_mostly_utf8(data):
        return InputError(f"{problem}, unlike the rest of the file; correct this line")
    start = max(data.rfind(mark, 0, position) for mark in (b"\n", b",", b"\t", b";", b" ")) + 1
    shown = data[max(start, position - 20) : position + 12]
    shown = re.split(rb"[\n,\t;\r]", shown)[0]
    fits = likely_encodings(data) or ["iso-8859-1"]
    readings = ", ".join(f"'{shown.decode(name, 'replace')}' in {name}" for name in fits[:4])
    command = f"iconv -f {fits[0]} -t utf-8"
    whole = f"zcat {path.name} | {command}" if path.suffix == ".gz" else f"{command} {path.name}"
    return InputError(
        f"{problem}; convert the file from its encoding (the text would be {readings}): "
        f"{whole} > converted"
    )


def _is_mostly_utf8(data: bytes) -> bool:
    """Whether most non-ASCII characters are valid UTF-8."""
    text = data.decode("utf-8", "replace")
    beyond = len(re.findall(r"[^\x00-\x7f]", text))
    return beyond > 2 * text.count("\ufffd")


def _with_zeros(path: Path, data: bytes) -> InputError:
    """The error for NUL bytes: padding, UTF-16 without a byte order mark, or not text."""
    text = data.rstrip(b"\0")
    if b"\0" not in text:
        line, padded = text.count(b"\n") + 1, len(data) - len(text)
        return InputError(
            f"{path} line {line}: ends with {padded} NUL bytes, as a file that was not written or "
            f"copied completely; write it again, or check its last line and remove them: "
            f"tr -d '\\000' < {path.name} > corrected"
        )
    beginning = data[:200]
    for name, zeros in (("utf-16le", beginning[1::2]), ("utf-16be", beginning[::2])):
        if zeros.count(0) > len(zeros) / 2:
            return InputError(
                f"{path}: is UTF-16 without a byte order mark; convert the file: "
                f"iconv -f {name} -t utf-8 {path.name} > converted"
            )
    line = data.count(b"\n", 0, data.index(b"\0")) + 1
    return InputError(
        f"{path} line {line}: has a NUL byte, which text does not have; remove it: "
        f"tr -d '\\000' < {path.name} > corrected"
    )
