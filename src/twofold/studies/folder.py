"""The layout of a study's folder.

    plan.json                        the plan of the study; written first
    dataset/                         the prepared dataset, if the command line prepared it
    models/ARM/seed-N/               a trained model; ARM-from-behaviour reads no item text
    evaluations/ARM/seed-N/          its rankings of the test requests, and their scores; those
                                     for another question are under ARM-with-text, ...
    evaluations/baselines/TASK/NAME/ the same of a baseline; baselines-seed-N/ on a seed's fold
    tuning/ARM/                      the trials that chose an arm's recipe
    baselines/, encoders/            weights of baselines and encoders, shared between arms
    levels/PARAMETER-VALUE/          in a simulation: the models and evaluations of one level
    study.json, report.html, ...     the result; manifest.json is written last

Invariant: no other module names a path inside a study's folder.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from twofold import artifact
from twofold.records import InputError, Task

KIND = "study"


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The paths inside a study's folder. Reading a path creates nothing.

    Attributes:
        path: the folder.
        trained_as: the suffix of an arm's name in the folders of its models and trials.
        evaluated_as: the suffix in the folders of its evaluations, and in the result.
    """

    path: Path
    trained_as: str = ""
    evaluated_as: str = ""

    def model(self, arm: str, seed: int) -> Path:
        """The folder of one trained model."""
        return self.path / "models" / f"{arm}{self.trained_as}" / f"seed-{seed}"

    def tuning(self, arm: str) -> Path:
        """The folder of the trials that choose an arm's recipe."""
        return self.path / "tuning" / f"{arm}{self.trained_as}"

    def encoders_of(self, seed: int) -> Path:
        """Sentence encoders that are tuned on the data of one seed."""
        return self.encoders if seed == 0 else self.encoders / f"seed-{seed}"

    def evaluation(self, arm: str, seed: int) -> Path:
        """The folder of one model's evaluation."""
        return self.path / "evaluations" / f"{arm}{self.evaluated_as}" / f"seed-{seed}"

    def evaluations(self, arm: str) -> list[Path]:
        """The folders of all finished evaluations of an arm, by the names of its seeds."""
        folder = self.evaluation(arm, 0).parent
        return sorted(manifest.parent for manifest in folder.glob(f"seed-*/{artifact.MANIFEST}"))

    def baseline(self, task: Task, name: str, seed: int = 0) -> Path:
        """The folder of one baseline's evaluation, on the fold of a seed."""
        return self._baselines(seed) / task / "-".join(name.lower().split())

    def baselines(self) -> Iterator[tuple[Task, Path]]:
        """The task and the folder of every baseline's evaluation, in the order of their names."""
        for evaluation in sorted(self._baselines(0).glob("*/*")):
            yield evaluation.parent.name, evaluation  # type: ignore[misc]  # made by `baseline`

    def level(self, parameter: str, value: float) -> "StudyFolder":
        """The models and evaluations of one level of a simulation."""
        return StudyFolder(self.path / "levels" / f"{parameter}-{value:g}")

    def _baselines(self, seed: int) -> Path:
        return self.path / "evaluations" / (f"baselines-seed-{seed}" if seed else "baselines")

    @property
    def plan(self) -> Path:
        """The plan of the study."""
        return self.path / "plan.json"

    @property
    def dataset(self) -> Path:
        """The prepared dataset."""
        return self.path / "dataset"

    @property
    def baseline_models(self) -> Path:
        """Weights of the baselines that are trained."""
        return self.path / "baselines"

    @property
    def encoders(self) -> Path:
        """Sentence encoders that are tuned for semantic IDs."""
        return self.path / "encoders"

    @property
    def result(self) -> Path:
        """Every number of the study."""
        return self.path / "study.json"

    @property
    def schema(self) -> Path:
        """The JSON Schema of the result."""
        return self.path / "study.schema.json"

    @property
    def per_request(self) -> Path:
        """The scores of every arm, seed and test request."""
        return self.path / "per_request.parquet"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def simulation(self) -> Path:
        """Every number of a simulation."""
        return self.path / "simulation.json"

    @property
    def figure(self) -> Path:
        """The figure of a simulation."""
        return self.path / "figure.svg"

    @property
    def looks_file(self) -> Path:
        """The number of seeds at each interim look so far."""
        return self.path / ".looks.json"

    def save_looks(self, looks: Sequence[int]) -> None:
        """Save the number of seeds at each look so far; every look counts, even the last one."""
        artifact.replace_file(self.looks_file, json.dumps(list(looks)).encode())

    def looks(self) -> list[int]:
        """The numbers of seeds after which verdicts were computed, ascending.

        Raises:
            InputError: a file that holds them is damaged.
        """
        looks, file = set[int](), self.looks_file
        if file.is_file():
            remedy = "restore it, or give another folder"
            looks |= _checked_looks(artifact.read_json(file, remedy), file, remedy)
        if self.result.is_file():
            remedy = "remove it, and repeat the same command with --resume"
            stamp = artifact.read_object(self.result, "stamp", remedy=remedy)["stamp"]
            taken = isinstance(stamp, dict) and (stamp.get("looks") or [stamp.get("seeds")])
            looks |= _checked_looks(taken, self.result, remedy)
        return sorted(looks)

    def require_free(self, resume: bool) -> None:
        """Raise InputError unless the folder is empty, or has a study and `resume` is set."""
        if self.plan.is_file():
            if not resume:
                raise InputError(f"{self.path}: holds a study already; add --resume to continue it")
            return
        early = {self.dataset.name, f".{self.dataset.name}.partial", f".{self.plan.name}.partial"}
        present = self.path.iterdir() if self.path.is_dir() else ()
        if any(path.name not in early for path in present):
            raise InputError(
                f"{self.path}: exists and is not empty; give another folder or remove it"
            )


def _checked_looks(value: object, file: Path, remedy: str) -> set[int]:
    """The looks that a file has; InputError if they are not positive whole numbers."""
    if not isinstance(value, list) or not all(type(seeds) is int and seeds > 0 for seeds in value):
        raise InputError(f"{file}: does not list the numbers of seeds of its looks; {remedy}")
    return set(value)
