"""The trials of recipes by successive halving, which choose the recipe of an arm on validation.

In the first rung, all recipes are trained for a few steps. The best third of them, at least two,
are trained for three times as many steps. If these are three or more, the best two are trained for
three times as many steps again. The best recipe is chosen (Jamieson and Talwalkar, AISTATS 2016). A
trial continues from its own state, so no step is repeated.

Invariant: the chosen recipe is a function of data, arm, configuration and seed. The cost is counted
in steps, not in seconds, and a tuning that was killed repeats no finished trial.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from twofold import artifact
from twofold.identifiers.identifiers import ItemIdentifiers
from twofold.model.backbone import resolve_device
from twofold.records import InputError
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.prepared import PreparedDataset
from twofold.training import loop
from twofold.training.arm import Arm, named_arm
from twofold.training.config import SELECTION, TrainingConfig, resolve_config
from twofold.training.progress import validation_in_words
from twofold.training.state import ALONE, DivergedError, Processes, require_same
from twofold.training.train import Training, prepare, train
from twofold.training.tuning.recipes import Recipe, recipes_of, with_recipe

SEED = 1000
"""The random seed of all trials; no arm of a study is trained with it."""

GROWTH = 3
"""Each rung has 3 times the steps of the previous one, and about a third of its trials."""

_FINALISTS = 2
_TRIALS = "tuning.json"
_EPOCHS, _FEWEST, _MOST = 2, 200, 600
"""The epochs of the first rung, and the bounds of its steps. Recipes with high dropout, or with
item embeddings from texts, learn slowly at first: after 74 steps, the best of four was still the
last."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one recipe at the end of a rung.

    Attributes:
        recipe: its number, from 0.
        rung: the steps of the rung, as a multiple of those of the first rung.
        settings: the settings that differ from the fixed recipe.
        steps: the number of steps so far.
        value: the validation of its best checkpoint; -1 if it diverged.
        tasks: the measure of each task at that checkpoint.
    """

    recipe: int
    rung: int
    settings: Recipe
    steps: int
    value: float
    tasks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The configuration that was chosen on validation, and how it was chosen.

    Attributes:
        config: the configuration.
        value: the best validation of the chosen recipe; -1 if there was no trial.
        record: for stamp and report: the number of recipes, the chosen one, every trial.
    """

    config: TrainingConfig
    value: float
    record: Mapping[str, Any]


def rungs(recipes: int) -> list[tuple[int, int]]:
    """The number of trials of each rung, and its steps as a multiple of those of the first rung.

    The list is empty for a single recipe, which needs no trial.
    """
    if recipes < 2:
        return []
    sizes = [recipes, max(_FINALISTS, -(-recipes // GROWTH))]
    if sizes[1] > _FINALISTS:
        sizes.append(_FINALISTS)
    return [(size, GROWTH**rung) for rung, size in enumerate(sizes)]


def choose_recipe(
    dataset: PreparedDataset,
    arm: Arm,
    folder: Path,
    config: TrainingConfig,
    recipes: Sequence[Recipe],
    *,
    device: str = "auto",
    reference: Mapping[str, float] | None = None,
    identifiers: ItemIdentifiers | None = None,
    processes: Processes = ALONE,
) -> Tuned:
    """Choose among recipes for one arm.

    Args:
        dataset: the dataset; trials learn from its training split, and its validation requests
            compare them.
        arm: the arm.
        folder: the folder for finished trials and training states; an interrupted tuning in it is
            resumed.
        config: the fixed recipe and all other settings.
        recipes: the recipes; the first should be empty, which is the fixed recipe itself.
        device, reference, identifiers, processes: as in `twofold.train`.

    Raises:
        InputError: the folder contains another tuning.
    """
    run = Training(
        dataset=dataset,
        arm=arm,
        config=config,
        seed=SEED,
        device=resolve_device(device),
        reference=reference or {},
        identifiers=identifiers,
        processes=processes,
    ).resolved()
    trials = _Trials(run, folder, recipes)
    survivors = list(range(len(recipes)))
    for size, times in rungs(len(recipes)):
        survivors = survivors[:size]
        values = {recipe: trials.value_of(recipe, times) for recipe in survivors}
        finite = [recipe for recipe in survivors if values[recipe] >= 0]  # others diverged
        survivors = sorted(finite or survivors, key=lambda recipe: -values[recipe])
    tuned = trials.tuned(survivors[0])
    processes.on_rank_zero(lambda: shutil.rmtree(trials.states, ignore_errors=True))
    return tuned


class _Trials:
    """The trials of one tuning; a recipe is trained only up to the rungs that are requested.

    Args:
        run: the training with the fixed recipe.
        folder: the folder of the states and of `tuning.json`, which is written after every trial.
        recipes: the recipes.
    """

    def __init__(self, run: Training, folder: Path, recipes: Sequence[Recipe]) -> None:
        self._run, self._recipes = run, recipes
        self._file, self.states = folder / _TRIALS, folder / "states"
        self._identity = {**run.identity, "recipes": [dict(recipe) for recipe in recipes]}
        self._first, self._finished = 0, {}
        if kept := run.processes.on_rank_zero(self._kept):
            self._first = kept["first_rung"]
            trials = [Trial(**trial) for trial in kept["trials"]]
            self._finished = {(trial.recipe, trial.rung): trial for trial in trials}

    def _kept(self) -> dict[str, Any]:
        """The content of an interrupted tuning's `tuning.json`; empty if there is none."""
        if not self._file.is_file():
            return {}
        keys, remedy = ("identity", "first_rung", "trials"), "remove it to try the recipes again"
        kept = artifact.read_object(self._file, *keys, remedy=remedy)
        require_same(kept["identity"], self._identity, self._file.parent)
        return kept

    def value_of(self, recipe: int, times: int) -> float:
        """The best validation of a recipe at the end of a rung, to which it is trained if it was
        not yet.
        """
        if (recipe, times) not in self._finished:
            self._finished[recipe, times] = self._trained(recipe, times)
            self._run.processes.on_rank_zero(self._save)
        return self._finished[recipe, times].value

    def _trained(self, recipe: int, times: int) -> Trial:
        """Train a recipe up to the end of a rung, and evaluate it."""
        settings = self._recipes[recipe]
        run = replace(self._run, config=with_recipe(self._run.config, settings))
        prepared = prepare(run, self.states / "encoders")
        self._first = self._first or _first_rung(prepared.job.mixture.batches_per_epoch)
        try:
            progress = prepared.advance(self.states / f"recipe-{recipe}", times * self._first)
            validation = prepared.job.validation
            tasks = validation.of_trial() if validation else {}
            steps, value = progress.step, tasks.pop("value", progress.best_value)
        except DivergedError as error:
            _log.info("%s", error)
            steps, value, tasks = times * self._first, -1.0, {}
        named = ", ".join(f"{key}={chosen}" for key, chosen in settings.items()) or "fixed recipe"
        _log.info(
            "%s, recipe %d of %d (%s): %s after %d steps",
            run.arm.name,
            recipe + 1,
            len(self._recipes),
            named,
            "diverged" if value < 0 else validation_in_words(value, tasks),
            steps,
        )
        return Trial(recipe, times, settings, steps, value, tasks)

    def _save(self) -> None:
        content = {
            "identity": self._identity,
            "first_rung": self._first,
            "trials": [asdict(trial) for trial in self._finished.values()],
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        artifact.replace_file(self._file, json.dumps(content, indent=2).encode())

    def tuned(self, chosen: int) -> Tuned:
        """The result after the last rung."""
        trials = [asdict(trial) for trial in self._finished.values()]
        last = {trial.recipe: trial for trial in self._finished.values()}
        record = {
            "recipes": len(self._recipes),
            "chosen": dict(self._recipes[chosen]),
            "measure": str(SELECTION),
            "seed": SEED,
            "steps": sum(trial.steps for trial in last.values()),
            "trials": trials,
        }
        config = with_recipe(self._run.config, self._recipes[chosen])
        value = last[chosen].value if chosen in last else -1.0
        return Tuned(config, value, record)


@loop.one_at_a_time()
def train_tuned(
    dataset: PreparedDataset,
    arm: str | Arm = "joint",
    *,
    out: str | Path,
    recipes: int,
    config: TrainingConfig | None = None,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    processes: Processes = ALONE,
    **others: Any,
) -> GenerativeRetriever:
    """`twofold.train` with the best of some recipes, chosen on validation.

    Args:
        dataset, arm, out, config, device, threads, resume, processes: as in `twofold.train`.
        recipes: the number of recipes to try.
        others: the other arguments of `twofold.train`.

    Raises:
        InputError: as from `twofold.train`.
    """
    loop.set_threads(threads)
    trained_arm, config = named_arm(arm), config or resolve_config()
    with processes.entered(artifact.claim(out)) as folder:
        tuning_folder = folder.parent / f".{folder.name}.tuning"
        kept = processes.on_rank_zero(lambda: _chosen_before(folder, tuning_folder, resume))
        if kept is not None:
            tuned = Tuned(with_recipe(config, kept["chosen"]), -1.0, kept)
        else:
            trained_arm.require_tasks(dataset)
            space = recipes_of(dataset, trained_arm, config, recipes)
            tuned = choose_recipe(
                dataset,
                trained_arm,
                tuning_folder,
                config,
                space,
                device=device,
                processes=processes,
            )
        retriever = train(
            dataset,
            trained_arm,
            out=out,
            config=tuned.config,
            device=device,
            resume=resume,
            tuning=tuned.record,
            processes=processes,
            **others,
        )
        processes.on_rank_zero(lambda: shutil.rmtree(tuning_folder, ignore_errors=True))
    return retriever


def _chosen_before(folder: Path, tuning_folder: Path, resume: bool) -> Mapping[str, Any] | None:
    """The record of the tuning of a finished model; None if recipes are still to be tried.

    Raises:
        InputError: the folder exists, or an interrupted tuning is not resumed.
    """
    if resume and artifact.is_complete(folder):
        return load_model(folder).model.stamp.tuning
    if resume:
        return None
    if tuning_folder.exists():
        raise InputError(
            f"{folder}: a tuning was interrupted there; add --resume to continue it, or remove "
            f"{tuning_folder} to start again"
        )
    artifact.require_absent(folder)
    return None


def _first_rung(batches_per_epoch: int) -> int:
    """The number of steps of the first rung."""
    return max(_FEWEST, min(_MOST, _EPOCHS * batches_per_epoch))
