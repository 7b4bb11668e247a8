"""The house stays small enough to find one's way: folders, names, dependencies."""

import re
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


def test_the_tests_of_a_module_have_its_name_or_are_named_in_the_guide() -> None:
    tests = ROOT / "tests"
    guide = (tests / "README.md").read_text()
    elsewhere = set(re.findall(r"`([a-z_]+/[\w/]+)`", guide))
    lost = [
        str(path.with_suffix(""))
        for path in MODULES
        if path.name != "__init__.py"
        and not (tests / path.with_name(f"test_{path.name}")).is_file()
        and str(path.with_suffix("")) not in elsewhere
    ]
    assert lost == [], "name their tests in tests/README.md"
    named = set(re.findall(r"`([\w/]+\.py)`", guide)) - {"model/kernels.py"}
    assert {name for name in named if not (tests / name).is_file()} == set()
