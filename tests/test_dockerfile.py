"""What the image's instructions name exists: files, extras, options. The image is not built."""

import fnmatch
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
INSTRUCTIONS = re.findall(r"^([A-Z]+) +(.+)$", TEXT, re.M)


def _values(name: str) -> list[str]:
    return [value for instruction, value in INSTRUCTIONS if instruction == name]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert "*" in lines
    for copied in _values("COPY"):
        for name in copied.split()[:-1]:
            assert (ROOT / name).exists()
            assert any(fnmatch.fnmatch(name, pattern) for pattern in kept), name
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {needed["readme"], *needed["license-files"], "pyproject.toml", "src"} <= set(kept)


def test_what_is_installed_is_what_was_tested() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert '".[$EXTRAS]"' in TEXT
    for asked in re.findall(r"(?:^ARG EXTRAS=|^# \")([a-z]+(?:,[a-z]+)*)", TEXT, re.M):
        assert set(asked.split(",")) <= set(extras["optional-dependencies"])
    (python,) = re.findall(r"^FROM python:([\d.]+)-slim$", TEXT, re.M)
    assert f"Programming Language :: Python :: {python}" in extras["classifiers"]
    (torch,) = re.findall(r"^ARG TORCH=(\S+)$", TEXT, re.M)
    assert f"TORCH = {torch}\n" in (ROOT / "Makefile").read_text()


def test_what_it_runs_is_a_command_and_not_by_root() -> None:
    assert json.loads(*_values("ENTRYPOINT")) == ["twofold"]
    verb, *options = json.loads(*_values("CMD"))
    command = [sys.executable, "-c", "from twofold.cli import main; main()", verb, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [option for option in options if option.startswith("--") and option not in shown] == []
    names = [name for name, _ in INSTRUCTIONS]
    assert names.index("USER") < names.index("CMD")
    assert _values("USER") != ["root"]
    assert "/ready" in TEXT
    (port,) = _values("EXPOSE")
    assert options[options.index("--port") + 1] == port
    assert f"127.0.0.1:{port}/ready" in TEXT
