"""Downloads against a real server on loopback: resumed, verified, unpacked once."""

import functools
import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from twofold.data.download import Archive, fetch
from twofold.records import InputError

CONTENT = io.BytesIO()
with zipfile.ZipFile(CONTENT, "w") as _archive:
    # A ZipInfo has a fixed time, so the archive and its checksum are the same in every process.
    _archive.writestr(zipfile.ZipInfo("ml-made/movies.csv"), "movieId,title,genres\n1,Up,x\n")
ZIP = CONTENT.getvalue()
MD5 = hashlib.md5(ZIP).hexdigest()


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves the archive, honours Range, and breaks off after `limit` bytes."""

    def __init__(self, *args: object, log: list[str | None], limit: list[int]) -> None:
        self.log, self.limit = log, limit
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self.path.endswith(".md5"):
            content = f"MD5 (ml-made.zip) = {MD5}\n".encode()
            self._send(200, content, content)
            return
        start = self.headers.get("Range")
        self.log.append(start)
        offset = int(start.removeprefix("bytes=").rstrip("-")) if start else 0
        if offset >= len(ZIP):
            self._send(416, b"", b"")
            return
        rest = ZIP[offset:]
        self._send(206 if start else 200, rest, rest[: self.limit.pop(0) if self.limit else None])

    def _send(self, status: int, whole: bytes, sent: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, list[str | None], list[int]]]:
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    log: list[str | None] = []
    limit: list[int] = []
    handler = functools.partial(_Server, log=log, limit=limit)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/ml-made.zip", log, limit
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("md5", [MD5, None], ids=["with checksum", "without"])
def test_an_archive_is_fetched_once(
    served: tuple[str, list[str | None], list[int]], md5: str | None
) -> None:
    url, log, _ = served
    folder = fetch(Archive("ml-made", url, md5))
    assert (folder / "movies.csv").is_file()
    assert fetch(Archive("ml-made", url, md5)) == folder
    assert log == [None]


def test_a_broken_transfer_resumes_where_it_stopped(
    served: tuple[str, list[str | None], list[int]],
) -> None:
    url, log, limit = served
    limit.append(50)
    with pytest.raises(InputError, match="could not be downloaded"):
        fetch(Archive("ml-made", url, MD5))
    assert (fetch(Archive("ml-made", url, MD5)) / "movies.csv").is_file()
    assert log == [None, "bytes=50-"]


def test_a_wrong_checksum_removes_the_file(
    served: tuple[str, list[str | None], list[int]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the publisher says 0000; the file was removed"):
        fetch(Archive("ml-made", served[0], "0000"))
    assert not list((tmp_path / "cache").glob("*.zip"))


def test_a_closed_network_says_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path))
    url = "http://127.0.0.1:9/ml-made.zip"
    with pytest.raises(InputError) as error:
        fetch(Archive("ml-made", url, MD5))
    assert url in str(error.value)
    assert f"unpack it to {tmp_path / 'ml-made'}" in str(error.value)
