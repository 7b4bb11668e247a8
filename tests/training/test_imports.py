"""What `twofold train` needs of the program stays small: files loaded, and depth of imports."""

import ast
import functools
import json
import subprocess
import sys
from pathlib import Path

from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.storage import save_dataset

SOURCE = Path(__file__).parents[2] / "src"

RUN = """
import json, sys
from pathlib import Path
from twofold.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
files = [getattr(m, "__file__", None) for n, m in sys.modules.items() if n.startswith("twofold")]
print(json.dumps([f for f in files if f and len(Path(f).read_text().splitlines()) > 1]))
"""


def test_training_on_a_prepared_folder_loads_few_files(
    catalog: PreparedDataset, tmp_path: Path
) -> None:
    save_dataset(catalog, tmp_path / "dataset")
    arguments = [str(tmp_path / "dataset"), "--out", str(tmp_path / "model"), "--threads", "1"]
    small = ["backbone=decoder:tiny", "max_steps=2"]
    arguments += [part for setting in small for part in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-c", RUN, "train", *arguments], capture_output=True, text=True, check=True
    )
    loaded = {Path(name).relative_to(SOURCE / "twofold") for name in json.loads(_last(done.stdout))}
    # The command line knows its other verbs by one thin file each, which `train` does not need.
    verbs = {path for path in loaded if path.parent.name == "cli"}
    needed = loaded - verbs | {
        Path("cli") / name for name in ("__init__.py", "options.py", "train.py")
    }
    assert needed <= loaded
    assert len(needed) <= 44, " ".join(sorted(map(str, needed)))


def _last(output: str) -> str:
    return output.strip().splitlines()[-1]


def test_imports_of_training_are_at_most_twelve_deep() -> None:
    @functools.cache
    def depth(module: str) -> int:
        return 1 + max((depth(other) for other in _imports(module)), default=0)

    assert depth("twofold.cli.train") <= 12


def test_the_recipe_is_at_most_250_lines() -> None:
    assert len(_file("twofold.training.train").read_text().splitlines()) <= 250


def _file(module: str) -> Path:
    return SOURCE.joinpath(*module.split(".")).with_suffix(".py")


def _imports(module: str) -> set[str]:
    """The files of the program that a module imports anywhere, but for the types alone."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(_file(module).read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("twofold"):
            names = {node.module or "", *(f"{node.module}.{name.name}" for name in node.names)}
            found |= {name for name in names if _file(name).is_file()}
    return found
