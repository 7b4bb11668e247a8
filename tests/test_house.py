"""The house stays small enough to find one's way: folders, names, dependencies."""

import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = [path.relative_to(ROOT / "src" / "twofold") for path in (ROOT / "src").rglob("*.py")]


def test_no_folder_but_cli_has_more_than_fourteen_files() -> None:
    sizes = Counter(str(path.parent) for path in MODULES)
    del sizes["cli"]
    assert {folder: size for folder, size in sizes.items() if size > 14} == {}


def test_the_name_of_a_file_tells_its_content() -> None:
    telling_nothing = {"base", "common", "core", "helpers", "misc", "tools", "util", "utils"}
    assert {str(path) for path in MODULES if path.stem in telling_nothing} == set()


def test_ten_dependencies_at_most_are_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 10
