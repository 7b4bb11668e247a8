"""The layout of a study's folder, and the plan that the study was begun with.

    plan.json                        what the study was asked for; written first
    dataset/                         the prepared dataset, where the command line made it
    models/ARM/seed-N/               a trained model; ARM-from-behaviour reads no item text
    evaluations/ARM/seed-N/          its answers to the test requests, and their scores; what is
                                     judged for another question is ARM-with-text, ...
    evaluations/baselines/TASK/NAME/ the same of a baseline; baselines-seed-N/ on the fold of a seed
    tuning/ARM/                      the trials that chose an arm's recipe
    baselines/, encoders/            weights that baselines and identifiers share between arms
    levels/PARAMETER-VALUE/          in a simulation: the models and evaluations of one level
    study.json, report.html, ...     the result; manifest.json comes last

Invariant: no other module names a path inside a study's folder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twofold import artifact
from twofold.model.stamp import full_settings
from twofold.records import InputError, Task

KIND = "study"


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The paths inside a study's folder; nothing is made by asking for one.

    Attributes:
        path: the folder.
        trained_as: what follows an arm's name where its models and trials are.
        judged_as: what follows it where its evaluations are, and in the result.
    """

    path: Path
    trained_as: str = ""
    judged_as: str = ""

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
        return self.path / "evaluations" / f"{arm}{self.judged_as}" / f"seed-{seed}"

    def evaluations(self, arm: str) -> list[Path]:
        """The folders of all finished evaluations of an arm, by the names of its seeds."""
        folder = self.evaluation(arm, 0).parent
        return sorted(place.parent for place in folder.glob(f"seed-*/{artifact.MANIFEST}"))

    def baseline(self, task: Task, name: str, seed: int = 0) -> Path:
        """The folder of one baseline's evaluation, on the fold of a seed."""
        return self._baselines(seed) / task / "-".join(name.lower().split())

    def baselines(self) -> Iterator[tuple[Task, Path]]:
        """The task and the folder of every baseline's evaluation, in the order of their names."""
        for place in sorted(self._baselines(0).glob("*/*")):
            yield place.parent.name, place  # type: ignore[misc]  # made by `baseline`

    def level(self, parameter: str, value: float) -> "StudyFolder":
        """The models and evaluations of one level of a simulation."""
        return StudyFolder(self.path / "levels" / f"{parameter}-{value:g}")

    def _baselines(self, seed: int) -> Path:
        return self.path / "evaluations" / (f"baselines-seed-{seed}" if seed else "baselines")

    @property
    def plan(self) -> Path:
        """What the study was asked for."""
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
        """The page to read."""
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
        """The seeds after which a study that grows had its interim looks."""
        return self.path / ".looks.json"

    def save_looks(self, looks: Sequence[int]) -> None:
        """Save the seeds of the looks so far: each counts, even if the study then ends."""
        artifact.replace_file(self.looks_file, json.dumps(list(looks)).encode())

    def looks(self) -> list[int]:
        """The seeds after which this study's verdicts were computed, ascending."""
        file = self.looks_file
        looks = set(artifact.read_json(file)) if file.is_file() else set()
        if self.result.is_file():
            stamp = artifact.read_json(self.result)["stamp"]
            looks |= set(stamp.get("looks") or [stamp["seeds"]])
        return sorted(looks)

    def require_free(self, resume: bool) -> None:
        """Raise InputError unless the folder holds nothing, or a study that `resume` continues."""
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

    def begun_with(self) -> dict[str, Any]:
        """The plan that is there; empty without one."""
        if not self.plan.is_file():
            return {}
        before: dict[str, Any] = {"tune": 0, "folds": "none", **artifact.read_json(self.plan)}
        return {**before, "training": full_settings(before["training"])}

    def begin(self, plan: Mapping[str, Any], resume: bool) -> None:
        """Write the plan, or compare it with the one that is there.

        Raises:
            InputError: the folder holds another study, or something else.
        """
        self.require_free(resume)
        if self.plan.is_file():
            before = self.begun_with()
            plan = {**plan, "training": full_settings(plan["training"])}
            changed = [key for key in sorted(plan) if before.get(key) != plan[key]]
            refused = [key for key in changed if not _has_grown(key, before, plan)]
            if refused:
                raise InputError(f"{self.path}: {_refusal(refused, before, plan)}")
            if not changed:
                return
        self.path.mkdir(parents=True, exist_ok=True)
        content = json.dumps(plan, indent=2, sort_keys=True).encode()
        artifact.replace_file(self.plan, content)


def _has_grown(key: str, before: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    """Whether a resumed study asks for more seeds or other arms: its models stay as they are."""
    if key == "seeds":
        return bool(plan[key] >= before[key])
    if key == "semantic_ids":
        return bool(plan[key] or not before.get(key))
    if key in ("max_seeds", "looks_end"):  # `looks_end` has refused what may not be
        return True
    return key == "interventions" and set(plan[key]) >= set(before.get(key, []))


def _refusal(keys: list[str], before: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """What differs between two plans, and what to do about it."""
    old, new = before["training"], plan["training"]
    if differing := ", ".join(sorted(old.keys() ^ new.keys())):
        return (
            f"the study there was started by another version of twofold, and only one of the two "
            f"knows the settings {differing}; continue it with that version, or give another folder"
        )
    settings = [key for key in sorted(new) if old[key] != new[key]]
    named = [f"training ({', '.join(settings)})" if key == "training" else key for key in keys]
    return (
        f"the study there was started with another {', '.join(named)}; "
        f"repeat its command, or give another folder"
    )
