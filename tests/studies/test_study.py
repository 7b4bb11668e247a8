"""A study from end to end: its result, and resuming after a kill."""

import itertools
import json
import random
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.builds import count_builds
from tests.conftest import WriteFolder
from tests.studies.conftest import SETTINGS, Command, study_arguments, study_command
from twofold import artifact, extras
from twofold.data.formats import Table
from twofold.data.simulators.catalog import catalog as simulated_catalog
from twofold.data.validation import validate
from twofold.evaluation.measures import MEASURES
from twofold.records import InputError, Task
from twofold.retrieval.generative import load_model
from twofold.studies.arms import ARMS, TUNED, control_name, tuned_arm
from twofold.studies.folder import StudyFolder
from twofold.studies.result import StudyResult
from twofold.studies.scores import model_stamp
from twofold.studies.study import study
from twofold.studies.trainings.seed_outputs import SeedOutputs
from twofold.tasks.evaluate import KIND as EVALUATION
from twofold.tasks.folds import Folds
from twofold.tasks.prepared import PreparedDataset
from twofold.tasks.split import split_dataset
from twofold.tasks.storage import load_dataset
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.state import state_folder
from twofold.training.train import train


def test_arms_and_measures_are_all_there(content: dict[str, Any]) -> None:
    assert list(content["arms"]) == sorted(content["arms"])
    assert set(content["arms"]["joint"]) == {"search", "recommendation"}
    assert set(content["arms"]["joint"]["search"]) == {str(measure) for measure in MEASURES}
    tuned = {"BM25 (text)", "popularity (search)", "item-kNN", "SASRec", "history mean"}
    assert tuned <= set(content["baselines"])


def test_means_are_those_of_the_requests(study_folder: Path, content: dict[str, Any]) -> None:
    scores = pl.read_parquet(study_folder / "per_request.parquet")
    assert scores.columns == ["arm", "seed", "task", "request_id", "measure", "value"]
    for arm, task, measure, value in (
        scores.group_by("arm", "task", "measure").agg(pl.col("value").mean()).iter_rows()
    ):
        assert content["arms"][arm][task][measure]["mean"] == pytest.approx(value)


def test_the_whole_folder_is_an_artifact(study_folder: Path) -> None:
    manifest = artifact.load(study_folder, "study")
    assert "models/joint/seed-0/manifest.json" in manifest["files"]
    assert "report.html" in manifest["files"]


def _numbers(folder: Path) -> dict[str, Any]:
    """Everything that must not depend on a kill: measures and the hashes of all weights."""
    result = json.loads((folder / "study.json").read_text())
    del result["stamp"]["command"]
    weights = {
        path.relative_to(folder).as_posix(): artifact.read_json(path)["files"]
        for path in folder.glob("models/*/*/manifest.json")
    }
    return {"result": result, "weights": weights}


def _kill_and_resume(prepared: Path, out: Path, seconds: list[float]) -> None:
    command = study_command(prepared, out)
    for wait in seconds:
        resume = ["--resume"] if (out / "plan.json").exists() else []
        process = subprocess.Popen(command + resume, stderr=subprocess.DEVNULL)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_killed_study_resumes_to_the_same_numbers(
    prepared: Path, study_folder: Path, tmp_path: Path
) -> None:
    _kill_and_resume(prepared, tmp_path / "out", [7.0])
    assert _numbers(tmp_path / "out") == _numbers(study_folder)


@pytest.mark.slow
def test_a_study_killed_many_times_resumes_to_the_same_numbers(
    prepared: Path, study_folder: Path, tmp_path: Path
) -> None:
    rng = random.Random(0)
    _kill_and_resume(prepared, tmp_path / "out", [rng.uniform(2.0, 9.0) for _ in range(10)])
    assert _numbers(tmp_path / "out") == _numbers(study_folder)


def test_the_conclusion_builds_examples_and_requests_once(
    prepared: Path, study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(study_folder, tmp_path / "out")
    plan = json.loads((study_folder / "plan.json").read_text())
    built = count_builds(monkeypatch)
    study(
        load_dataset(prepared),
        out=tmp_path / "out",
        seeds=plan["seeds"],
        config=resolve_config(plan["budget"], None, tuple(SETTINGS)),
        budget=plan["budget"],
        interventions=plan["interventions"],
        baselines=plan["baselines"],
        tune=plan["tune"],
        resume=True,
        device="cpu",
        threads=plan["threads"],
    )
    assert ("build_examples", "search") in built
    assert ("search_requests", "test") in built
    assert len(built) == len(set(built))


def test_every_arm_has_the_recipe_that_validation_chose_for_it(
    study_folder: Path, result: StudyResult
) -> None:
    tuning = result.of("tuning")
    suffixes = ("", "-from-behaviour")
    assert set(tuning.arms) == {f"{arm}{suffix}" for arm in TUNED for suffix in suffixes}
    assert {arm.recipes for arm in tuning.arms.values()} == {2}, "the same effort for every arm"
    assert tuning.steps == sum(arm.steps for arm in tuning.arms.values()) > 0
    for suffix, arm in itertools.product(suffixes, ARMS):
        folder = StudyFolder(study_folder, trained_as=suffix)
        stamp = model_stamp(folder, arm.name, 0)
        own = tuning.arms[f"{tuned_arm(arm)}{suffix}"]
        assert stamp.tuning is not None
        assert stamp.tuning["chosen"] == own.chosen
        assert stamp.seed != stamp.tuning["seed"] == own.seed
        trained = artifact.read_json(folder.model(arm.name, 0) / artifact.MANIFEST)
        for key, value in own.chosen.items():
            assert trained["config"]["training"][key] == value
    baseline = artifact.load(folder.baseline("recommendation", "SASRec"), EVALUATION)["config"]
    assert baseline["stamp"]["candidates"] == 2, "and for SASRec"
    assert "(its recipe) were chosen on validation" in folder.report.read_text()


def test_nothing_finished_is_repeated(
    prepared: Path, study_folder: Path, tmp_path: Path, twofold: Command
) -> None:
    # A copy, as resuming writes study.json anew, with this command: other tests read the original.
    out = shutil.copytree(study_folder, tmp_path / "out")
    models = sorted(out.glob("models/*/*/manifest.json"))
    before = [path.stat().st_mtime_ns for path in models]
    code, printed, _ = twofold(*study_arguments(prepared, out), "--resume")
    assert code == 0
    assert printed.splitlines()[-1] == f"report: {out / 'report.html'}"
    assert [path.stat().st_mtime_ns for path in models] == before
    recorded = artifact.read_json(out / "study.json")["stamp"]["command"]
    assert recorded == shlex.join(["twofold", *map(str, study_arguments(prepared, out))])


def test_a_folder_with_another_study_is_refused(
    catalog: PreparedDataset, quick_config: TrainingConfig, study_folder: Path
) -> None:
    with pytest.raises(InputError, match="holds a study already; add --resume"):
        study(catalog, out=study_folder, seeds=1, config=quick_config, tune=2)
    with pytest.raises(
        InputError,
        match=r"started with baselines=.*, budget=quick \(now standard\), interventions=.*",
    ):
        study(
            catalog,
            out=study_folder,
            seeds=1,
            config=quick_config,
            budget="standard",
            tune=2,
            threads=1,
            resume=True,
        )


def test_a_study_without_its_extra_says_so_before_any_work(
    prepared: Path, tmp_path: Path, twofold: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extras.EXTRAS, "study", ("no_such_library",))
    for command in (("study", prepared), ("simulate-study", "popularity")):
        code, _, said = twofold(*command, "--out", tmp_path / "out")
        assert code == 2
        assert 'no_such_library, which is not installed: install the extra "study"' in said
        assert said.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_an_edited_source_is_not_mistaken_for_the_old_one(
    write_folder: WriteFolder, tmp_path: Path, twofold: Command
) -> None:
    from twofold.tasks.storage import save_dataset

    folder, out = write_folder(), tmp_path / "out"
    save_dataset(load_dataset(folder), out / "dataset")
    with (folder / "qrels.csv").open("a") as file:
        file.write("q1,b,1\n")
    code, _, said = twofold("study", folder, "--out", out)
    assert code == 2
    assert "has other data than" in said


def test_a_folder_with_something_else_is_refused(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="exists and is not empty; give another folder"):
        study(catalog, out=tmp_path, config=quick_config)


def test_a_study_of_a_path_or_with_a_mapping_of_settings_is_refused(
    catalog: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="str is no dataset; give what"):
        study("folder", out=tmp_path / "s")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dict is not a configuration"):
        study(catalog, out=tmp_path / "s", config={"max_steps": 2})  # type: ignore[arg-type]


def test_one_side_alone_is_no_study(write_folder: WriteFolder, tmp_path: Path) -> None:
    folder = write_folder(queries=None, qrels=None)
    with pytest.raises(InputError, match="this dataset has no queries with qrels; add them"):
        study(load_dataset(folder), out=tmp_path / "out")
    with pytest.raises(InputError, match="--seeds 0: at least 1"):
        study(load_dataset(folder), out=tmp_path / "out", seeds=0)


@pytest.mark.parametrize(
    ("queries", "events", "says"),
    [
        ("q1,x,train", "abc", r"validation requests for search \(users or queries: 0,"),
        (
            "q1,x,train\nq2,y,validation\nq3,z,test",
            "abc",
            r"test requests for search \(.* 1, at least 2 .*\); some queries with qrels must be in",
        ),
        (
            "q1,x,train\nq2,y,validation\nq3,z,test\nq4,z,test",
            "ab",
            r"for recommendation \(.* 0, at least 1 are needed\); a user needs at least three",
        ),
    ],
)
def test_a_study_without_enough_requests_is_refused(
    write_folder: WriteFolder, tmp_path: Path, queries: str, events: str, says: str
) -> None:
    ids = [line.split(",")[0] for line in queries.splitlines()]
    times = "".join(f"u,{item},{time}\n" for time, item in enumerate(events))
    folder = write_folder(
        queries=f"query_id,text,split\n{queries}\n",
        qrels="query_id,item_id\n" + "".join(f"{each},a\n" for each in ids),
        interactions=f"user_id,item_id,timestamp\n{times}",
    )
    with pytest.raises(InputError, match=says):
        study(load_dataset(folder), out=tmp_path / "out")


def test_a_control_continues_the_plain_arm_and_has_the_bits_of_one_that_did_not(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    config = quick_config.model_copy(update={"max_steps": None, "patience": 0.1})
    plain, control = ARMS[0], control_of("search")
    folder = StudyFolder(tmp_path / "study")
    begun = folder.model("search", 0)
    stamp = train(catalog, plain, out=begun, config=config, keep_state=True).model.stamp
    assert stamp.ended_by == "patience"
    shorter, longer = stamp.steps - 1, stamp.steps + 20
    outputs = SeedOutputs([plain, control], folder, 0)
    outputs.continue_plain(control, shorter)
    assert state_folder(begun).is_dir(), "it took more steps than the control may"
    outputs.continue_plain(control, longer)
    continued = folder.model(control.name, 0)
    assert list(state_folder(continued).glob(f"step-{stamp.steps:08d}"))
    for out, resume in ((continued, True), (tmp_path / "alone", False)):
        train(catalog, control, out=out, config=config, steps=longer, resume=resume)
    assert load_model(continued).model.stamp.steps == longer
    assert artifact.load(continued, "model") == artifact.load(tmp_path / "alone", "model")


def control_of(task: Task) -> Arm:
    return next(arm for arm in ARMS if arm.name == control_name(task))


def test_each_seed_holds_out_another_part_and_a_study_grows(tmp_path: Path) -> None:
    """Three seeds of two folds' worth of data; more seeds by --max-seeds repeat nothing."""
    frames = simulated_catalog(films=40, users=40, queries=200)
    frames["queries"] = frames["queries"].drop("split")
    tables = {name: [Table(Path(f"{name}.csv"), rows)] for name, rows in frames.items()}
    dataset, out = split_dataset(validate(tables), "made"), tmp_path / "out"
    settings = (*SETTINGS[:1], "max_steps=6", "warmup_steps=1", "batch_tokens=512")
    common: dict[str, Any] = {
        "out": out,
        "config": resolve_config("quick", None, settings),
        "question": "transfer",
        "text": "without",
        "tune": 0,
        "device": "cpu",
        "threads": 1,
    }
    first = study(dataset, seeds=2, **common).result
    assert first["stamp"]["folded"] == ["search", "recommendation"]
    assert first["stamp"]["folded_users"] == Folds(dataset).folded_users
    assert first["stamp"]["looks"] == [2]
    folds = Folds(dataset)
    scores = pl.read_parquet(out / "per_request.parquet")
    for seed in range(2):
        asked = scores.filter(task="search", seed=seed)["request_id"]
        requests = folds.of(seed).task("search").requests("test").requests
        assert set(asked) == {request.request_id for request in requests}
        for arm in ("joint", "search"):
            stamp = model_stamp(StudyFolder(out), arm, seed)
            assert stamp.data == folds.of(seed).digest
    assert len(first["arms"]["joint-from-behaviour"]["search"]["Recall@10"]["by_seed"]) == 2
    popular = first["baselines"]["popularity (search)"]["search"]
    assert len(popular["Recall@10"]["by_seed"]) == 2, "quick baselines are made on each fold"
    before = {path: path.stat().st_mtime_ns for path in out.glob("models/*/*/manifest.json")}
    grown = study(dataset, max_seeds=3, resume=True, **common).result
    assert grown["stamp"]["looks"] == [2, 3]
    assert grown["stamp"]["seeds"] == grown["stamp"]["max_seeds"] == 3
    assert grown["verdicts"]["search"]["look"]["planned"] == [2, 3]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(InputError, match=r"folds=auto \(now none\)"):
        study(dataset, seeds=3, folds="none", resume=True, **common)
    assert grown["stamp"]["looks_end"] == 3
    larger: list[dict[str, Any]] = [{"seeds": 5}, {"max_seeds": 5}]
    for more in larger:
        with pytest.raises(InputError, match=r"seeds 5: the interim looks .* for 3 seeds at most"):
            study(dataset, resume=True, **more, **common)
    again = study(dataset, seeds=3, resume=True, **common).result
    assert again["verdicts"] == grown["verdicts"], "the level of a look stays that of its plan"
    with pytest.raises(InputError, match="--max-seeds 2: at least 3"):
        study(dataset, max_seeds=2, resume=True, **common)


def test_every_question_has_its_verdicts_and_its_arms(content: dict[str, Any]) -> None:
    asked = [(own["question"], own["text"], own["suffix"]) for own in content["questions"]]
    assert asked == [
        ("transfer", "without", "-from-behaviour"),
        ("transfer", "with", "-with-text"),
        ("replace", "with", ""),
    ]
    assert content["verdicts"] == content["questions"][0]["verdicts"]
    for own in content["questions"]:
        assert set(own["verdicts"]) == {"search", "recommendation"}
        assert sum(own["source_weights"].values()) == pytest.approx(1)
        for task, verdict in own["verdicts"].items():
            assert verdict["question"] == own["question"]
            joint, plain = (
                content["arms"][f"{arm}{own['suffix']}"][task][verdict["measure"]]["mean"]
                for arm in ("joint", task)
            )
            assert verdict["contrasts"]["plain"]["difference"] == pytest.approx(joint - plain)


def test_what_the_models_of_each_question_have_read(study_folder: Path) -> None:
    read = {"": "auto", "-from-behaviour": "none"}
    for suffix, texts in read.items():
        for arm in ARMS:
            place = StudyFolder(study_folder, trained_as=suffix).model(arm.name, 0)
            settings = artifact.read_json(place / artifact.MANIFEST)["config"]["training"]
            assert settings["item_texts"] == texts


def test_semantic_ids_need_item_text(catalog: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--semantic-ids: they are made of item texts"):
        study(catalog, out=tmp_path / "out", text="without", semantic_ids=True)
