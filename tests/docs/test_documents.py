"""The documents and the program agree: commands, options, targets, links, files, the reference."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import twofold
from tests.docs.pages import PAGES, ROOT, name_of
from twofold.cli import app

README = ROOT / "README.md"
REFERENCE = ("cli", "settings", "python", "study-json")


def test_the_documents_name_only_commands_and_options_that_exist() -> None:
    for page in PAGES:
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
    script = ROOT / "docs" / "make_reference.py"
    code = "import json, runpy, sys; page = runpy.run_path(sys.argv[1])['page']; "
    code += "print(json.dumps([page(name) for name in sys.argv[2:]]))"
    command = [sys.executable, "-c", code, str(script), *REFERENCE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name, text in zip(REFERENCE, json.loads(done.stdout), strict=True):
        assert (ROOT / "docs" / "reference" / f"{name}.md").read_text() == text, name


def test_a_model_folder_holds_the_files_that_the_reference_lists(tmp_path: Path) -> None:
    config = twofold.resolve_config("quick", backbone="decoder:tiny", max_steps=2)
    dataset = twofold.load_dataset("simulate:catalog:users=60")
    twofold.train(dataset, out=tmp_path / "model", config=config)
    listed = (ROOT / "docs" / "reference" / "model-folder.md").read_text()
    for path in sorted((tmp_path / "model").rglob("*")):
        if path.is_file():
            assert f"`{path.relative_to(tmp_path / 'model')}`" in listed, path.name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_the_documents_hold(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text()):
        assert link.startswith("http") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_are_at_most_120_characters_long(page: Path) -> None:
    """Apart from tables, code, what is generated, and links that cannot be broken."""
    if page.parent.name in ("reference", "benchmarks"):
        return
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for line in prose.splitlines():
        assert len(line) <= 120 or line.startswith("|") or " " not in line[:118], line


def test_files_and_tests_that_the_project_pages_name_exist() -> None:
    for page in sorted((ROOT / "docs" / "project").glob("*.md")):
        for path, test in re.findall(
            r"`((?:src|tests|examples)/[\w/.]+)(?:::(\w+))?`", page.read_text()
        ):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
            assert not test or f"def {test}(" in (ROOT / path).read_text(), f"{page.name}: {test}"


def test_make_targets_in_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"^make (\w+)", page.read_text(), re.M):
            assert re.search(rf"^{target}:", makefile, re.M), f"{page.name}: make {target}"


def test_the_results_in_the_readme_are_those_of_the_published_studies() -> None:
    """Every figure and verdict of a row is in the studies' JSON; a baseline is on their page.

    The README shows the studies for which no setting was chosen by hand.
    """
    published = json.loads((ROOT / "docs/benchmarks/data/verdicts.json").read_text())
    runs = {run["name"]: run["tables"][0]["rows"] for run in published["runs"]}
    defaults = [run for run in published["runs"] if " --set " not in run["command"]]
    page = " ".join((ROOT / "docs/results/verdicts.md").read_text().split())
    sections = {section.partition(":")[0]: section for section in page.split(" ## ")}
    models, verdicts = r"(.*)\|(.*)\| (\.\d+) \((.*)\) ", r"(.*) · (.*)\|(.*)"
    row = rf"^\| ([\w-]*-joint)? ?\| (search|recommendation) \|{models}\|{verdicts}\|$"
    rows = re.findall(row, README.read_text(), re.M)
    assert len(rows) == 2 * len(defaults)
    name = ""
    for dataset, task, single, joint, figure, baseline, behaviour, text, replace in rows:
        name = dataset or name
        known = {own["models"]: own for own in runs[name] if own["task"] == task}
        assert single.strip(" *") == _rounded(known["deployed"]["plain"])
        assert joint.strip(" *") == _rounded(known["deployed"]["joint"])
        assert behaviour.strip(" *") == known["from behaviour"]["verdict"]
        assert text.strip(" *") == known["with item text"]["verdict"]
        assert replace.strip(" *") == known["deployed"]["verdict"]
        assert re.search(rf"{re.escape(baseline)}[^,;]* \(?{re.escape(figure)}\b", sections[name])


def _rounded(value: float) -> str:
    return f"{value:.3f}".lstrip("0")
