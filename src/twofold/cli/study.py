"""`twofold study`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from twofold.cli.options import (
    Budget,
    BudgetName,
    Config,
    DatasetArgument,
    Device,
    Json,
    MaxSteps,
    MaxTime,
    Out,
    Resume,
    Settings,
    SkipUnknown,
    TextEncoder,
    Tune,
    command_line,
    parse_tune,
    print_notes,
)
from twofold.cli.study_options import (
    Baselines,
    FoldsOption,
    Interventions,
    Margin,
    MaxSeeds,
    MeasureName,
    Only,
    QuestionName,
    QuestionOption,
    Seeds,
    SemanticIds,
    Sesoi,
    StudyThreads,
    TextName,
    TextOption,
    Workers,
)
from twofold.records import InputError

if TYPE_CHECKING:
    from twofold.studies.arms import InterventionSet
    from twofold.studies.folder import StudyFolder
    from twofold.tasks.prepared import PreparedDataset


def study(
    context: typer.Context,
    dataset: DatasetArgument,
    out: Out,
    seeds: Seeds = None,
    max_seeds: MaxSeeds = None,
    folds: FoldsOption = None,
    budget: Budget = BudgetName.standard,
    sesoi: Sesoi = 0.05,
    question: QuestionOption = QuestionName.both,
    text: TextOption = TextName.both,
    margin: Margin = None,
    measure: MeasureName = None,
    interventions: Interventions = False,
    only: Only = None,
    semantic_ids: SemanticIds = False,
    baselines: Baselines = False,
    tune: Tune = None,
    text_encoder: TextEncoder = None,
    skip_unknown: SkipUnknown = False,
    resume: Resume = False,
    max_steps: MaxSteps = None,
    max_time: MaxTime = None,
    config: Config = None,
    settings: Settings = None,
    device: Device = "auto",
    threads: StudyThreads = None,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Does one task help the other, and can one model take the place of two? Train the arms,
    compare them, write a report."""
    from twofold.extras import require_extra

    require_extra("study", "a study")
    from twofold import artifact
    from twofold.studies.folder import StudyFolder
    from twofold.studies.study import study as run
    from twofold.training.config import resolve_config

    if seeds is not None and max_seeds is not None:
        raise InputError("--seeds and --max-seeds: give one of them")
    recipes = parse_tune(tune)
    named: Any = {"text_encoder": text_encoder, "max_steps": max_steps, "max_time": max_time}
    resolved = resolve_config(budget.value, config, tuple(settings or ()), **named)
    folder = StudyFolder(out)
    with artifact.claim(out):
        folder.require_free(resume)
        run(
            _prepared(dataset, folder.dataset, skip_unknown),
            out=out,
            seeds=3 if seeds is None else seeds,
            max_seeds=max_seeds,
            folds=folds.value if folds else None,
            config=resolved,
            budget=budget.value,
            sesoi=sesoi,
            question=question.value,
            text=text.value,
            margin=margin,
            measure=measure,
            interventions=_interventions(interventions, only),
            semantic_ids=semantic_ids,
            baselines=baselines,
            tune=recipes,
            resume=resume,
            device=device,
            threads=threads,
            workers=workers,
            machines=context.obj,
            command=command_line(),
        )
    _print_result(folder, json)


def _print_result(folder: "StudyFolder", json: bool) -> None:
    """Print study.json, or its recommendation, its verdicts and the path of the report."""
    from twofold.studies.pages.sentences import condition, verdict_sentence, what_to_do
    from twofold.studies.result import load_result

    if json:
        print(folder.result.read_text(encoding="utf-8"), end="")
        return
    result = load_result(folder.path)
    print(what_to_do(result))
    for answer in result.questions:
        for task, verdict in answer.verdicts.items():
            print(f"{task}, {condition(answer)}: {verdict_sentence(task, verdict)}")
    print(f"report: {folder.report}")


def _interventions(every: bool, only: list[str] | None) -> list["InterventionSet"]:
    from twofold.studies.arms import INTERVENTION_SETS

    if unknown := [kind for kind in only or [] if kind not in INTERVENTION_SETS]:
        raise InputError(
            f"--only '{unknown[0]}': no such set; choose one of {', '.join(INTERVENTION_SETS)}"
        )
    chosen = only or (INTERVENTION_SETS if every else ())
    return [kind for kind in INTERVENTION_SETS if kind in chosen]


def _prepared(source: str, place: Path, skip_unknown: bool) -> "PreparedDataset":
    """The dataset; unless `source` is a prepared folder, it is prepared into `place`.

    Then it is read from there, since workers on other machines cannot read temporary files.
    """
    from twofold import artifact
    from twofold.tasks.storage import load_dataset, save_dataset

    data = load_dataset(source, skip_unknown=skip_unknown)
    print_notes(data, source)
    if artifact.is_complete(Path(source)):
        return data
    if not artifact.is_complete(place):
        save_dataset(data, place)
    kept = load_dataset(place)
    if kept.digest != data.digest:
        raise InputError(f"{place}: has other data than {source} has now; give another --out")
    return kept
