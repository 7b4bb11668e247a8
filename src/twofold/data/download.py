"""Downloads of known archives by name: resumed after an interruption, verified, unpacked once."""

import hashlib
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from twofold.records import InputError

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip file with one folder inside.

    Attributes:
        name: the folder's name.
        url: the publisher's address of it.
        md5: the publisher's checksum; None if the file is updated from time to time and its
            checksum is published as `url` + ".md5".
    """

    name: str
    url: str
    md5: str | None


def cache_folder() -> Path:
    """The folder of archives: $TWOFOLD_CACHE, or twofold in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return Path(os.environ.get("TWOFOLD_CACHE", str(Path(base) / "twofold")))


def fetch(archive: Archive) -> Path:
    """The unpacked folder of an archive, downloaded if it is not in the cache.

    Raises:
        InputError: no network (the message says which file to put where), or a wrong checksum.
    """
    cache = cache_folder()
    folder = cache / archive.name
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{archive.name}.zip"
    try:
        if not path.is_file():
            _download(archive.url, path)
        expected = archive.md5 or _published_md5(archive.url)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise InputError(
            f"{archive.name}: could not be downloaded from {archive.url} ({error}); "
            f"fetch it elsewhere and unpack it to {folder}, or give the unpacked folder itself"
        ) from error
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != expected:
        path.unlink()
        raise InputError(
            f"{path}: MD5 {md5}, the publisher says {expected}; the file was removed, try again"
        )
    _unpack(path, folder)
    return folder


def _published_md5(url: str) -> str:
    with urllib.request.urlopen(f"{url}.md5", timeout=30) as answer:
        text: str = answer.read().decode()
    return next(w for w in text.replace("=", " ").split() if len(w) == 32)


def _download(url: str, path: Path) -> None:
    """Download `url`, and resume from the file `path`.part of an earlier attempt."""
    part = path.with_suffix(".zip.part")
    done = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send, the part is complete
            raise
        part.rename(path)
        return
    with answer, Progress(disable=not os.isatty(2), transient=True) as progress:
        resumed = answer.status == 206
        total = int(answer.headers.get("Content-Length", 0)) + (done if resumed else 0)
        bar = progress.add_task(path.name, total=total or None, completed=done if resumed else 0)
        received = done if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                received += len(chunk)
                progress.update(bar, advance=len(chunk))
    if total and received < total:
        raise ConnectionError(f"the transfer broke after {received} of {total} bytes; try again")
    part.rename(path)


def _unpack(path: Path, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(partial)
    inside = partial / folder.name
    (inside if inside.is_dir() else partial).rename(folder)
    shutil.rmtree(partial, ignore_errors=True)
