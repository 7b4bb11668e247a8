"""`python -m twofold`."""

import subprocess
import sys
from pathlib import Path

from tests.commands import failing


def test_the_package_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "twofold", "prepare", str(tmp_path / "none"), "--out", "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "none: no such folder" in failing(done)
