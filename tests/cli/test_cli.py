"""The commands as people type them."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import INTERACTIONS, WriteFolder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from twofold.cli import main; main()"]
    command += [str(argument) for argument in arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_is_instant() -> None:
    start = time.monotonic()
    done = run("--help")
    assert time.monotonic() - start < 2
    assert done.returncode == 0
    for verb in ("prepare", "study", "train", "evaluate", "search", "recommend"):
        assert verb in done.stdout
        assert run(verb, "--help").returncode == 0


def test_prepare_prints_the_data_report(write_folder: WriteFolder, tmp_path: Path) -> None:
    done = run("prepare", write_folder(), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "# Data report" in done.stdout
    assert "1 users have too few (under three) and only train" in done.stdout
    again = run("prepare", write_folder("b"), "--out", tmp_path / "json", "--json")
    assert json.loads(again.stdout)["sizes"]["items"] == 5


def test_prepare_takes_a_cutoff(write_folder: WriteFolder, tmp_path: Path) -> None:
    rows = "user_id,item_id,timestamp\nu,a,2024-01-01\nu,b,2024-02-01\nu,c,2024-03-01\n"
    folder = write_folder(interactions=rows)
    out = tmp_path / "out"
    split = ("--split", "temporal", "--cutoff", "2024-02-15")
    assert run("prepare", folder, "--out", out, *split).returncode == 0
    config = json.loads((out / "manifest.json").read_text())["config"]
    assert config["protocol"]["cutoff"] == 1707955200.0
    bad = run("prepare", folder, "--out", tmp_path / "x", "--split", "temporal", "--cutoff", "May")
    assert "--cutoff 'May': neither a number nor an ISO time" in bad.stderr


def test_train_then_ask(write_folder: WriteFolder, tmp_path: Path) -> None:
    model = tmp_path / "model"
    small = ("--backbone", "decoder:tiny", "--set", "max_steps=4", "--set", "min_validations=1")
    done = run("train", write_folder(), "--out", model, "--threads", 1, *small)
    assert done.returncode == 0, done.stderr
    assert "validation nDCG@10" in done.stdout
    found = json.loads(run("search", model, "first letter", "-k", 3, "--json").stdout)
    assert [answer["rank"] for answer in found] == [1, 2, 3]
    assert set(found[0]) == {"rank", "item_id", "title", "score"}
    shown = run("recommend", model, "--history", "a, b", "-k", 3)
    assert shown.returncode == 0
    assert "Delta" in shown.stdout or "Epsilon" in shown.stdout
    user = json.loads(run("recommend", model, "--user", "u4", "-k", 3, "--json").stdout)
    assert {answer["item_id"] for answer in user} == {"c", "d", "e"}


def test_evaluate_a_model_and_its_saved_run(
    model_folder: Path, tmp_path: Path, prepared_catalog: Path
) -> None:
    out = tmp_path / "scores"
    done = run("evaluate", model_folder, prepared_catalog, "--out", out)
    assert done.returncode == 0, done.stderr
    measured = json.loads((out / "measures.json").read_text())
    assert set(measured) == {"stamp", "unanswered", "search", "recommendation"}
    again = run(
        "evaluate", "--run", out / "search.trec", "--qrels", out / "search.qrels",
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert json.loads(again.stdout)["run"] == pytest.approx(measured["search"])


@pytest.fixture
def prepared_catalog(catalog: object, tmp_path: Path) -> Path:
    from twofold.tasks.prepared import PreparedDataset
    from twofold.tasks.storage import save_dataset

    assert isinstance(catalog, PreparedDataset)
    save_dataset(catalog, tmp_path / "prepared")
    return tmp_path / "prepared"


def fails(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("twofold: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_mistakes_are_one_line_and_exit_code_2(
    write_folder: WriteFolder, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    bad = write_folder("bad", interactions=INTERACTIONS + "u9,zz,5\n")
    fails(run("prepare", bad, "--out", out), "interactions.csv line 16: item_id 'zz'")
    fails(run("study", bad, "--out", out), "interactions.csv line 16: item_id 'zz'")
    assert not out.exists()
    fails(run("prepare", tmp_path / "nowhere", "--out", out), "no such folder")
    fails(run("prepare", write_folder(), "--out", tmp_path), "exists and is not empty")
    fails(run("prepare", write_folder("d")), "Missing option '--out'")
    fails(run("search", model_folder, ""), "the query is empty")
    fails(run("search", model_folder, "x", "-k", 0), "k is 0; it must lie between 1 and 60")
    fails(run("search", tmp_path / "nothing", "x"), "no such folder")
    fails(run("recommend", model_folder, "--history", "film-1,zz"), "item 'zz' is not in")
    fails(run("recommend", model_folder), "give either --history a,b,c or --user ID")
    fails(run("recommend", model_folder, "--user", "nobody"), "user 'nobody' is not among")
    fails(run("evaluate", "--out", out), "give MODEL and DATASET, or --run FILE")
    one_side = write_folder("one", queries=None, qrels=None)
    fails(run("train", one_side, "--out", out), "the arm joint needs queries with qrels")
    fails(run("train", one_side, "--out", out, "--set", "x=1"), "setting 'x'")
    fails(run("study", one_side, "--out", out), "this dataset has no queries with qrels")
    fails(run("nonsense"), "No such command 'nonsense'")
    scores = tmp_path / "scores"
    fails(run("evaluate", model_folder, one_side, "--out", scores), "is not the dataset and split")
    fails(run("evaluate", model_folder, one_side, "--out", scores, "--device", "x"), "not usable")
    assert run().returncode == 0


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("fastapi", "serve", "serve"),
        ("httpx", "mcp", "serve"),
        ("mcp", "mcp", "mcp"),
        ("ray", "cluster serve", "cluster"),
    ],
)
def test_a_missing_extra_is_named(
    model_folder: Path, module: str, command: str, extra: str
) -> None:
    arguments = ["twofold", *command.split(), str(model_folder)]
    code = f"import sys; sys.modules['{module}'] = None; sys.argv = {arguments}\n"
    code += "from twofold.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    fails(done, f'{module}, which is not installed: pip install "twofold[{extra}]"')
