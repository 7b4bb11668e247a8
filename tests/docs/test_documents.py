"""The documents and the program agree: commands, options, targets, links and the reference."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer

from twofold.cli import app

ROOT = Path(__file__).parents[2]


def test_the_documents_name_only_commands_and_options_that_exist() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for line in re.findall(r"^(?:\$ )?twofold (\S.*)$", page.read_text(), re.M):
            command: Any = typer.main.get_command(app)
            words = line.split()
            while hasattr(command, "commands"):
                assert words, f"{page.name}: twofold {line}"
                assert words[0] in command.commands, f"{page.name}: twofold {line}"
                command = command.commands[words.pop(0)]
            options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
            for option in re.findall(r"--[a-z-]+", line):
                assert option in options, f"{page.name}: twofold {line}"


def test_the_reference_is_what_the_program_says() -> None:
    """Where it is not: python docs/make_reference.py."""
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['reference'](), end='')"
    command = [sys.executable, "-c", code, str(ROOT / "docs" / "make_reference.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "reference" / "index.md").read_text() == done.stdout


def test_links_between_the_documents_hold() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text()):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page}: {link}"


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
