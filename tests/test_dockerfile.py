"""What the image's instructions name exists: files, extras, options.

The image is not built, as there may be no Docker: its steps are executed one after another in an
empty environment, and its service then answers its own check.
"""

import contextlib
import fnmatch
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

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


class Image:
    """The steps of the Dockerfile in a folder, with an environment of Python in place of a base."""

    def __init__(self, root: Path) -> None:
        self.root = root
        kept = ("PATH", "PYTHON", "VIRTUAL_ENV", "OMP_", "HF_", "TWOFOLD_")
        self.variables = {k: v for k, v in os.environ.items() if not k.startswith(kept)}
        self.variables["PATH"] = f"{root / 'python' / 'bin'}:/usr/bin:/bin"
        self.place = root
        for instruction, value in INSTRUCTIONS:
            step = getattr(self, f"_{instruction.lower()}", None)
            if step is not None:
                step(value)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as the image would."""
        return subprocess.run(
            command, cwd=self.place, env=self.variables, capture_output=True, text=True, check=False
        )

    def _from(self, _base: str) -> None:
        subprocess.run([sys.executable, "-m", "venv", self.root / "python"], check=True)

    def _arg(self, value: str) -> None:
        name, _, default = value.partition("=")
        self.variables.setdefault(name, default)

    def _env(self, value: str) -> None:
        self.variables |= dict(pair.split("=", 1) for pair in shlex.split(value))

    def _workdir(self, value: str) -> None:
        self.place = self.root / value.strip("/")
        self.place.mkdir(parents=True, exist_ok=True)

    def _copy(self, value: str) -> None:
        *names, to = value.split()
        for name in names:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(ROOT / name, self.place / to, ignore=ignored)
            else:
                shutil.copy(ROOT / name, self.place / to)

    def _run(self, value: str) -> None:
        if value.startswith("useradd"):  # of the base image, not of this machine
            assert shutil.which("useradd")
            return
        done = self.run("sh", "-euc", value)
        assert done.returncode == 0, f"{value}: {done.stdout}{done.stderr}"


@pytest.mark.slow
def test_its_steps_make_a_service_that_is_healthy(tmp_path: Path, model_folder: Path) -> None:
    image = Image(tmp_path)
    site = image.run("python", "-c", "import twofold; print(twofold.__file__)").stdout
    assert Path(site.strip()).is_relative_to(tmp_path / "python"), (
        "installed, and not of this clone"
    )
    assert image.run("python", "-c", "import ray").returncode == 1, (
        "small: only what it serves with"
    )
    (check,) = re.findall(r"HEALTHCHECK .*CMD (\[.+\])", TEXT)
    (port,) = _values("EXPOSE")
    with _served(image, model_folder, port) as own:
        end = time.monotonic() + 120
        while image.run(*(part.replace(port, own) for part in json.loads(check))).returncode:
            assert time.monotonic() < end
            time.sleep(0.5)


@contextlib.contextmanager
def _served(image: Image, model: Path, port: str) -> Iterator[str]:
    """The image's command with its folders below `image.root`; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        own = str(bound.getsockname()[1])
    keys = image.root / "keys"
    keys.write_text("someone 0123456789abcdef0123456789abcdef\n")
    keys.chmod(0o600)
    instead = {
        "/model": str(model), "/keys": str(keys), "/state": str(image.root / "state"), port: own,
    }  # fmt: skip
    command = [*json.loads(*_values("ENTRYPOINT")), *json.loads(*_values("CMD"))]
    program = shutil.which(command[0], path=image.variables["PATH"])
    given = [instead.get(part, part) for part in command[1:]]
    with subprocess.Popen([str(program), *given], env=image.variables, cwd=image.place) as service:
        try:
            yield own
            assert service.poll() is None
        finally:
            service.terminate()
            service.wait(60)
