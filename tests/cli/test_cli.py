"""The commands as people type them."""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.commands import failing, mistake, run_alone, run_here
from tests.conftest import INTERACTIONS, WriteFolder
from twofold.cli import _PATHS, app
from twofold.cli.study import _prepared
from twofold.cli.train import _validated
from twofold.model.stamp import Stamp
from twofold.retrieval.generative import load_model
from twofold.tasks.storage import load_dataset


@pytest.mark.alone  # the same work takes more processor time while other tests run
def test_help_is_instant() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run_alone("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert done.returncode == 0


def test_the_version_is_printed_without_loading_torch() -> None:
    shown = run_here("--version")
    assert (shown.returncode, shown.stdout) == (0, f"twofold {version('twofold')}\n")
    loaded = "import sys; import twofold.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, check=True)
    assert done.stdout.split() == [b"False"]


def test_every_verb_has_its_help() -> None:
    listed = run_here("--help").stdout
    for verb in ("prepare", "study", "train", "evaluate", "search", "recommend"):
        assert verb in listed
        assert run_here(verb, "--help").returncode == 0


def test_every_option_whose_value_is_a_path_reads_a_tilde() -> None:
    def verbs(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
        yield names
        for name, below in getattr(command, "commands", {}).items():
            yield from verbs(below, *names, name)

    pages = [run_here(*names, "--help").stdout for names in verbs(typer.main.get_command(app))]
    assert len(pages) > 20
    paths = {option for page in pages for option in re.findall(r"(--[a-z-]+) <path>", page)}
    assert paths == {*_PATHS}


def test_prepare_prints_the_data_report(write_folder: WriteFolder, tmp_path: Path) -> None:
    done = run_here("prepare", write_folder(), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "# Data report" in done.stdout
    assert "1 users have fewer than three events, which are all for training" in done.stdout
    again = run_here("prepare", write_folder("b"), "--out", tmp_path / "json", "--json")
    assert json.loads(again.stdout)["sizes"]["items"] == 5


def test_a_tilde_is_the_home_folder_also_where_a_shell_keeps_it(
    write_folder: WriteFolder,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_folder()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(folder.parent))
    for number, option in enumerate((["--out=~/p0"], ["--out", "~/p1"])):
        done = run_here("prepare", f"~/{folder.name}", *option)
        assert done.returncode == 0, done.stderr
        assert (folder.parent / f"p{number}" / "manifest.json").is_file()
    assert load_dataset("~/p0").digest == load_dataset(folder).digest
    assert "~/nothing" not in mistake("train", "~/p0", "--out", "m", "--config=~/nothing.json")
    monkeypatch.setenv("HOME", str(model_folder.parent))
    assert load_model(f"~/{model_folder.name}").model.catalog
    assert not (tmp_path / "~").exists()


def test_prepare_takes_a_cutoff(write_folder: WriteFolder, tmp_path: Path) -> None:
    rows = "user_id,item_id,timestamp\nu,a,2024-01-01\nu,b,2024-02-01\nu,c,2024-03-01\n"
    folder = write_folder(interactions=rows)
    out = tmp_path / "out"
    split = ("--split", "temporal", "--cutoff", "2024-02-15")
    assert run_here("prepare", folder, "--out", out, *split).returncode == 0
    config = json.loads((out / "manifest.json").read_text())["config"]
    assert config["protocol"]["cutoff"] == 1707955200.0
    bad = run_here(
        "prepare", folder, "--out", tmp_path / "x", "--split", "temporal", "--cutoff", "May"
    )
    assert "--cutoff 'May': neither a number nor an ISO time" in bad.stderr


def test_the_last_validation_says_on_which_requests_it_is() -> None:
    curve = [{"step": 8, "search": 0.3, "value": 0.3}, {"step": 9, "search": 0.2, "value": 0.2}]
    assert _validated(Stamp(curve=curve, best_value=0.3), "search") == "validation nDCG@10 0.3000"
    curve[0] |= {"on_all": 0.25}
    assert _validated(Stamp(curve=curve, best_value=0.25), "search") == (
        "validation nDCG@10 0.2500 (on more requests than in the log)"
    )


def test_train_then_ask(write_folder: WriteFolder, tmp_path: Path) -> None:
    model = tmp_path / "model"
    small = ("--backbone", "decoder:tiny", "--max-steps", 4, "--max-time", 9)
    done = run_alone("train", write_folder(), "--out", model, "--threads", 1, *small)
    assert done.returncode == 0, done.stderr
    assert "validation nDCG@10" in done.stdout
    assert done.stdout.endswith("(mean of both tasks)\n")
    assert "joint: step 4, loss " in done.stderr
    assert "joint: ended by max_steps after 4 steps, best at step " in done.stderr
    found = json.loads(run_here("search", model, "first letter", "-k", 3, "--json").stdout)
    assert [answer["rank"] for answer in found] == [1, 2, 3]
    assert set(found[0]) == {"rank", "item_id", "title", "score"}
    shown = run_here("recommend", model, "--history", "a, b", "-k", 3)
    assert shown.returncode == 0
    assert "Delta" in shown.stdout or "Epsilon" in shown.stdout
    user = json.loads(run_here("recommend", model, "--user", "u4", "-k", 3, "--json").stdout)
    assert {answer["item_id"] for answer in user} == {"c", "d", "e"}


def test_what_is_left_out_is_said_wherever_a_source_is_read(
    write_folder: WriteFolder, tmp_path: Path
) -> None:
    twice = INTERACTIONS + INTERACTIONS.splitlines(keepends=True)[-1]
    folder, model = write_folder(interactions=twice + "u9,zz,5\n"), tmp_path / "model"
    small = ("--backbone", "decoder:tiny", "--set", "max_steps=2", "--set", "patience=9")
    refused = run_here("train", folder, "--out", model, *small)
    assert refused.returncode == 2
    assert "leave them out with --skip-unknown" in refused.stderr
    skip = (folder, "--skip-unknown")
    trained = run_here("train", *skip, "--out", model, *small)
    said = f"note: {folder}/interactions.csv line 17: item_id 'zz' is not in the table items (1 row"
    copy = f"note: {folder}/interactions.csv line 16: user "
    assert said in trained.stderr
    assert copy in trained.stderr
    scored = run_here("evaluate", model, *skip, "--out", tmp_path / "scores")
    assert scored.returncode == 0, scored.stderr
    assert [line[: len(copy)] for line in scored.stderr.splitlines()].count(copy) == 1
    assert said in scored.stderr
    run_here("prepare", *skip, "--out", tmp_path / "prepared")
    scored = run_here("evaluate", model, tmp_path / "prepared", "--out", tmp_path / "again")
    assert (scored.returncode, scored.stderr) == (0, ""), "its report has the notes"
    data = _prepared(str(folder), tmp_path / "dataset", skip_unknown=True)
    assert data.digest == load_dataset(folder, skip_unknown=True).digest
    assert "'zz'" in (tmp_path / "dataset" / "left_out.jsonl").read_text()


def test_without_validation_and_test_requests_both_commands_say_so(
    write_folder: WriteFolder, tmp_path: Path
) -> None:
    pairs = "user_id,item_id,timestamp\n" + "".join(
        f"u{n},{pair[0]},1\nu{n},{pair[1]},2\n" for n, pair in enumerate(["ab", "bc", "cd", "de"])
    )
    folder, model = write_folder(interactions=pairs), tmp_path / "model"
    small = ("--backbone", "decoder:tiny", "--set", "max_steps=2")
    done = run_here("train", folder, "--arm", "recommendation", "--out", model, *small)
    assert "without validation, since there is no validation request" in done.stdout, done.stderr
    assert "a user needs at least three events" in done.stdout
    assert "-1.0" not in done.stdout
    done = run_here("evaluate", model, folder, "--out", tmp_path / "scores")
    assert "recommendation: not measured, since there is no test request: a user" in (
        done.stdout
    ), done.stderr
    done = run_here("train", folder, "--out", tmp_path / "joint", *small)
    assert "validation nDCG@10" in done.stdout, done.stderr
    assert "(no validation request for recommendation: a user needs" in done.stdout


def test_evaluate_a_model_and_its_saved_run(
    model_folder: Path, tmp_path: Path, prepared_catalog: Path
) -> None:
    out = tmp_path / "scores"
    done = run_here("evaluate", model_folder, prepared_catalog, "--out", out)
    assert done.returncode == 0, done.stderr
    measured = json.loads((out / "measures.json").read_text())
    assert set(measured) == {"stamp", "unanswered", "search", "recommendation"}
    again = run_here(
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


def test_mistakes_are_one_line_and_exit_code_2(
    write_folder: WriteFolder, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    bad = write_folder("bad", interactions=INTERACTIONS + "u9,zz,5\n")
    assert "interactions.csv line 16: item_id 'zz'" in mistake("prepare", bad, "--out", out)
    assert "interactions.csv line 16: item_id 'zz'" in mistake("study", bad, "--out", out)
    assert not out.exists()
    assert "no such folder" in mistake("prepare", tmp_path / "nowhere", "--out", out)
    assert "exists and is not empty" in mistake("prepare", write_folder(), "--out", tmp_path)
    for verb in ("train", "study"):
        for number in ("many", "-1", "99"):
            said = mistake(verb, "simulate:catalog", "--out", out, "--tune", number)
            assert f"--tune {number}: choose a number from 1 to 12, or none" in said.replace(
                "'", ""
            )
    assert "Missing option '--out'" in mistake("prepare", write_folder("d"))
    assert "the query is empty" in mistake("search", model_folder, "")
    assert "(y); quote a value with spaces" in mistake("search", model_folder, "x", "y")
    assert "k is 0; it must be at least 1" in mistake("search", model_folder, "x", "-k", 0)
    assert "no such folder" in mistake("search", tmp_path / "nothing", "x")
    assert "item 'zz' is not in" in mistake("recommend", model_folder, "--history", "film-1,zz")
    assert "give either --history a,b,c or --user ID" in mistake("recommend", model_folder)
    assert "user 'nobody' is not among" in mistake("recommend", model_folder, "--user", "nobody")
    assert "give MODEL and DATASET, or --run FILE" in mistake("evaluate", "--out", out)
    one_side = write_folder("one", queries=None, qrels=None)
    assert "the arm joint needs queries with qrels" in mistake("train", one_side, "--out", out)
    assert "setting 'x'" in mistake("train", one_side, "--out", out, "--set", "x=1")
    assert "this dataset has no queries with qrels" in mistake("study", one_side, "--out", out)
    assert "No such command 'nonsense'" in mistake("nonsense")
    scores = tmp_path / "scores"
    assert "is not the dataset and split" in mistake(
        "evaluate", model_folder, one_side, "--out", scores
    )
    assert "not usable" in mistake(
        "evaluate", model_folder, one_side, "--out", scores, "--device", "x"
    )
    assert run_here().returncode == 0


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
    assert f'{module}, which is not installed: install the extra "{extra}"' in failing(done)


def test_a_long_query_is_not_repeated_whole(model_folder: Path) -> None:
    said = run_here("search", model_folder, "q" * 5000).stderr
    assert said.startswith(f"No word of '{'q' * 100}...' is known to the model; the ranking uses")
