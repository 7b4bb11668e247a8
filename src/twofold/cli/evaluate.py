"""`twofold evaluate`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twofold.cli.options import Device, Json, Out, SkipUnknown, print_notes
from twofold.records import InputError, Retriever

if TYPE_CHECKING:
    from twofold.retrieval.generative import GenerativeRetriever

Run = Annotated[
    Path | None, typer.Option("--run", help="A TREC run file to score instead of a model.")
]
Qrels = Annotated[
    Path | None, typer.Option("--qrels", help="The TREC qrels file that judges --run.")
]


def evaluate(
    out: Out,
    model: Annotated[Path | None, typer.Argument(help="The model folder to score.")] = None,
    dataset: Annotated[
        str | None, typer.Argument(help="The dataset with the test requests.")
    ] = None,
    run: Run = None,
    qrels: Qrels = None,
    device: Device = "cpu",
    skip_unknown: SkipUnknown = False,
    json: Json = False,
) -> None:
    """Score a model on a dataset's test requests, or a saved run against qrels."""
    from twofold import artifact

    artifact.require_absent(out)
    if run and qrels and not model:
        with artifact.claim(out):
            _evaluate_run(run, qrels, out)
    elif model and dataset and not (run or qrels):
        with artifact.claim(out):
            evaluate_model(model, dataset, out, device, skip_unknown)
    else:
        raise InputError("evaluate: give MODEL and DATASET, or --run FILE and --qrels FILE")
    show_measures(out, json)


def show_measures(out: Path, json: bool) -> None:
    """Print the measures of a finished evaluation."""
    from twofold import artifact
    from twofold.tasks.evaluate import NEEDS

    measured = artifact.read_json(out / "measures.json")
    if json:
        print((out / "measures.json").read_text(encoding="utf-8"), end="")
        return
    for task in (name for name in measured if name not in ("stamp", "unanswered")):
        if not measured[task]:
            print(f"{task}: not measured, since there is no test request: {NEEDS[task]}")
            continue
        values = "  ".join(f"{measure} {value:.4f}" for measure, value in measured[task].items())
        print(f"{task}: {values}  (requests without an answer: {measured['unanswered'][task]})")


def evaluate_model(
    model: Path,
    dataset: str,
    out: Path,
    device: str,
    skip_unknown: bool,
    on_machines: "Callable[[GenerativeRetriever], Retriever] | None" = None,
) -> None:
    """Evaluate a model; `on_machines` returns a retriever that answers on other machines."""
    from twofold.retrieval.generative import load_model
    from twofold.tasks.evaluate import evaluate as run
    from twofold.tasks.evaluate import save_evaluation
    from twofold.tasks.storage import load_dataset

    retriever = load_model(model, device)
    data = load_dataset(dataset, skip_unknown=skip_unknown)
    print_notes(data, dataset)
    if data.digest != retriever.model.stamp.data:
        raise InputError(
            f"{dataset}: is not the dataset and split that {model} was trained on, so the model "
            f"may have been trained on these test data; give that dataset, or train on this one "
            f"(of a study's models, only those of seed 0 have this split, others have a fold "
            f"each); twofold.evaluate in Python scores a model on queries judged apart from it"
        )
    tasks = [task for task in data.tasks if task in retriever.model.tasks]
    if not tasks:
        raise InputError(f"{dataset}: has no data of a task that {model} was trained on")
    answering = on_machines(retriever) if on_machines else retriever
    save_evaluation(run(answering, data, tasks), out, retriever.model.stamp.as_dict())


def _evaluate_run(run_path: Path, qrels_path: Path, out: Path) -> None:
    import polars as pl

    from twofold.evaluation.measures import score, unanswered
    from twofold.evaluation.runs import read_qrels, read_run, require_common_ids
    from twofold.tasks.evaluate import Evaluation, save_evaluation

    run, qrels = read_run(run_path), read_qrels(qrels_path)
    require_common_ids(run, run_path, qrels, qrels_path)
    scores = score(run, qrels).select(pl.lit("run").alias("task"), pl.all())
    evaluation = Evaluation(scores, {"run": run}, {"run": qrels}, {"run": unanswered(run, qrels)})
    save_evaluation(evaluation, out, {"run": run.name, "qrels": qrels_path.name})
