"""The log of changes when a disk fails or a process dies."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from twofold.additions.log import FILE, CatalogChange, ChangeLog
from twofold.records import InputError

GONE = CatalogChange("remove", [{"item_id": "1"}])
LONG = CatalogChange("add", [{"item_id": "x" * 5000}])


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ChangeLog]:
    made = ChangeLog(tmp_path)
    yield made
    made.close()


def _again(folder: Path) -> list[CatalogChange]:
    log = ChangeLog(folder)
    log.close()
    return log.changes


def test_a_full_disk_leaves_the_log_as_it_was(log: ChangeLog, tmp_path: Path) -> None:
    log.append(GONE)
    before = log.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            log.append(LONG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.path.read_bytes() == before
    log.append(LONG)
    log.append(GONE)
    log.close()
    assert _again(tmp_path) == [GONE, LONG, GONE]


def test_an_acknowledged_change_survives_a_lost_line_break(log: ChangeLog, tmp_path: Path) -> None:
    log.append(LONG)
    log.append(GONE)
    log.close()
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-1])  # as some editors save it
    assert _again(tmp_path) == [LONG, GONE]
    assert log.path.read_bytes() == whole


def test_a_last_line_that_is_removed_is_reported(
    log: ChangeLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log.append(GONE)
    log.close()
    whole = log.path.read_bytes()
    for torn in (whole[:40], whole[:-1], b"\0" * 100):  # a copy of the line has a wrong checksum
        log.path.write_bytes(whole + torn)
        caplog.clear()
        assert _again(tmp_path) == [GONE]
        assert f"{log.path}: removed a last line" in caplog.text
        assert log.path.read_bytes() == whole


def test_a_log_that_cannot_be_put_right_takes_no_more(
    log: ChangeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        log.append(GONE)
    monkeypatch.undo()
    with pytest.raises(InputError, match="restart the server"):
        log.append(GONE)
    assert log.changes == []


def test_the_log_of_a_newer_version_is_refused_by_its_line(tmp_path: Path) -> None:
    from twofold.additions.log import _checksum

    change = {"kind": "add", "items": [], "placed": {}, "later": 1}
    line = (
        f'{{"sum": "{_checksum("", change)}", "change": {str(change).replace(chr(39), chr(34))}}}\n'
    )
    (tmp_path / FILE).write_text(line)
    with pytest.raises(InputError, match="line 1: corrupt"):
        ChangeLog(tmp_path)


def test_the_form_on_disk_stays_the_same(tmp_path: Path) -> None:
    """Byte by byte, since a log outlives the release that wrote it."""
    lines = [
        '{"sum": "CHECKSUM", "change": {"kind": "add", "items": [{"item_id": "new-1", '
        '"title": "Robots in love"}], "placed": {"5cd745df9f77": "UEsDB"}}}',
        '{"sum": "CHECKSUM", "change": {"kind": "remove", "items": [{"item_id": "film-3"}], '
        '"placed": {}}}',
    ]
    written, previous = "", ""
    for line in lines:
        change = json.loads(line)["change"]
        text = previous + json.dumps(change, sort_keys=True, ensure_ascii=False)
        previous = hashlib.sha256(text.encode()).hexdigest()[:16]
        written += line.replace("CHECKSUM", previous) + "\n"
    (tmp_path / FILE).write_text(written)
    log = ChangeLog(tmp_path)
    assert log.changes == [
        CatalogChange(
            "add", [{"item_id": "new-1", "title": "Robots in love"}], {"5cd745df9f77": "UEsDB"}
        ),
        CatalogChange("remove", [{"item_id": "film-3"}]),
    ]
    for change in log.changes.copy():
        log.append(change)
    log.close()
    assert (tmp_path / FILE).read_text().startswith(written)
    forms = [json.dumps(json.loads(line)["change"]) for line in written.splitlines()]
    again = (tmp_path / FILE).read_text().splitlines()[2:]
    assert [json.dumps(json.loads(line)["change"]) for line in again] == forms


def test_a_killed_process_lets_go_of_the_log_and_loses_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from twofold.additions.log import CatalogChange, ChangeLog\n"
        "log = ChangeLog(Path(sys.argv[1]))\n"
        "for n in range(10**6):\n"
        "    log.append(CatalogChange('remove', [{'item_id': str(n)}]))\n"
        "    print(n, flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(50):
        acknowledged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
    process.wait()
    process.stdout.close()
    kept = [int(change.items[0]["item_id"]) for change in _again(tmp_path)]
    assert kept == list(range(len(kept)))
    assert len(kept) > acknowledged


def test_a_model_folder_is_no_state_folder(tmp_path: Path) -> None:
    """The model folder stays as it is, and its next version would not have the changes."""
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds a model .* which stays as it is; give a folder"):
        ChangeLog(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_state_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"state: cannot be written \(.*\); give another folder"):
        ChangeLog(tmp_path / "file" / "state")


def test_a_file_is_no_state_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file; give a folder for the changes"):
        ChangeLog(tmp_path / "file")
