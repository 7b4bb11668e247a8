"""`make bench`: the scripts take the arguments that it gives them, and one table says it all."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import bench
import pytest


@pytest.mark.parametrize("name", list(bench.PARTS))
def test_a_script_knows_the_options_that_it_is_given(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module(name).main()
    known = capsys.readouterr().out
    given = [part.split("=")[0] for part in bench.PARTS[name].arguments if part.startswith("--")]
    assert {option for option in (*given, "--out") if f"{option} " not in known} == set()


def test_the_parts_take_less_than_ten_minutes_by_their_own_figures() -> None:
    assert bench.time_left(list(bench.PARTS), 0, 0.0) < 600


def test_time_left_follows_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {name: bench.Part([], seconds, iter) for name, seconds in (("one", 10), ("two", 30))}
    monkeypatch.setattr(bench, "PARTS", made)
    assert bench.time_left(["one", "two"], 0, 0.0) == 40
    assert bench.time_left(["one", "two"], 1, 20.0) == 60


SCRIPT = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True)
(out / "{name}.json").write_text(json.dumps({{"ratio": 1.5}}))
sys.exit({code})
"""


def made_parts(folder: Path, monkeypatch: pytest.MonkeyPatch, **codes: int) -> None:
    for name, code in codes.items():
        (folder / f"{name}.py").write_text(SCRIPT.format(name=name, code=code))

    def rows(found: dict[str, float]) -> Iterator[bench.Row]:
        yield bench._row("a case", found["ratio"], "times", 20.0, 0.25)

    monkeypatch.setattr(bench, "FOLDER", folder)
    monkeypatch.setattr(bench, "PARTS", {name: bench.Part([], 1, rows) for name in codes})


def test_one_table_and_one_file_hold_what_every_part_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_parts(tmp_path, monkeypatch, first=0, second=0)
    monkeypatch.setattr(sys, "argv", ["bench.py", "--out", str(tmp_path / "out")])
    bench.main()
    said = capsys.readouterr().out
    assert "2 of 2: second" in said
    assert "1.50 times" in said
    assert "25.0%" in said
    kept = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [row["part"] for row in kept["table"]] == ["first", "second"]
    assert kept["parts"]["second"]["found"] == {"ratio": 1.5}


def test_a_part_that_fails_is_named_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_parts(tmp_path, monkeypatch, broken=3, second=0)
    monkeypatch.setattr(sys, "argv", ["bench.py", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        bench.main()
    assert "broken.py ended with exit code 3" in capsys.readouterr().err
    kept = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [row["part"] for row in kept["table"]] == ["second"]
