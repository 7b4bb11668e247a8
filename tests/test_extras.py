"""A missing extra is one line that names the command, before any work."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from twofold.extras import EXTRAS, MissingExtraError, require_extra

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(("extra", "module"), [(e, m) for e, ms in EXTRAS.items() for m in ms])
def test_a_missing_module_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, extra: str, module: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else name)
    message = rf'^a test needs {module}, which is not installed: install the extra "{extra}" \(pip '
    message += rf'install -e "\.\[{extra}\]" in the clone\)$'
    with pytest.raises(MissingExtraError, match=message):
        require_extra(extra, "a test")


def test_extras_that_are_installed_pass_and_import_nothing() -> None:
    code = "import sys; from twofold.extras import require_extra\n"
    code += (
        "for extra in ('study', 'semantic', 'text', 'serve', 'mcp'): require_extra(extra, 'x')\n"
    )
    code += "assert not {'matplotlib', 'faiss', 'torch', 'fastapi'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_extra_for_users_is_declared_and_brings_its_modules() -> None:
    declared = PROJECT["optional-dependencies"]
    assert set(declared) - set(EXTRAS) == {"dev", "docs"}
    renamed = {"faiss": "faiss-cpu"}
    for extra, modules in EXTRAS.items():
        names = " ".join(declared[extra])
        assert [m for m in modules if renamed.get(m, m.replace("_", "-")) not in names] == []


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("bm25s", "study", 'twofold.study needs bm25s, .*: install the extra "study"'),
        ("torch", "train", "import of torch halted"),
    ],
)
def test_a_public_name_says_which_extra_it_needs(module: str, name: str, message: str) -> None:
    code = f"import sys; sys.modules['{module}'] = None\nimport twofold; twofold.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(message.replace("[", r"\["), done.stderr.strip().splitlines()[-1])
