"""The file plan.json: the plan with which a study or a simulation was started.

Invariant: a resumed run has the saved plan, or a plan that keeps every finished model.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import pydantic

from twofold import artifact
from twofold.records import InputError
from twofold.studies.folder import StudyFolder


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan saved as JSON, with a key for each field; among them `seeds` and `training`."""

    def to_json(self) -> dict[str, Any]:
        """The content of plan.json."""
        values = asdict(self).items()
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values}

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """The saved plan; None if there is none.

        Raises:
            InputError: the file has another kind of plan, or a value of another type.
        """
        if not file.is_file():
            return None
        remedy = "restore it, or give another folder"
        content = artifact.read_object(file, remedy=remedy)
        names = [field.name for field in fields(cls)]
        if missing := ", ".join(name for name in sorted(names) if name not in content):
            raise InputError(
                f"{file.parent}: was begun by another command, or by an older version of twofold "
                f"({file.name} lacks {missing}); continue it with that one, or give another folder"
            )
        values = {name: content[name] for name in names}
        try:
            pydantic.TypeAdapter(cls).validate_python(values)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place, given = ".".join(map(str, first["loc"])), json.dumps(first["input"])
            raise InputError(
                f"{file}: {place}: {first['msg']}, not {given:.80}; {remedy}"
            ) from error
        return cls(**values)


def begin(folder: StudyFolder, plan: SavedPlan, resume: bool) -> None:
    """Save the plan, or compare it with the one that is there.

    Args:
        folder: the folder of the study.
        plan: the plan.
        resume: whether the folder may contain an unfinished run of this study.

    Raises:
        InputError: the folder contains another study, or other files.
    """
    folder.require_free(resume)
    content = plan.to_json()
    if previous := plan.read(folder.plan):
        before = previous.to_json()
        changed = [key for key in sorted(content) if before[key] != content[key]]
        refused = [key for key in changed if not _keeps_models(key, before, content)]
        if refused:
            raise InputError(f"{folder.path}: {_refusal(refused, before, content)}")
        if not changed:
            return
    folder.path.mkdir(parents=True, exist_ok=True)
    artifact.replace_file(folder.plan, json.dumps(content, indent=2, sort_keys=True).encode())


def _keeps_models(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether the new value only adds seeds or arms, so that finished models stay valid."""
    if key == "seeds":
        return bool(after[key] >= before[key])
    if key == "semantic_ids":
        return bool(after[key])
    if key in ("max_seeds", "looks_end"):  # `looks_end` has rejected invalid values
        return True
    return key == "interventions" and set(after[key]) >= set(before[key])


def _refusal(keys: list[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The differences between two plans, and the remedy."""
    old, new = before["training"], after["training"]
    if differing := ", ".join(sorted(old.keys() ^ new.keys())):
        return (
            f"the study there was started by another version of twofold, and only one of the two "
            f"knows the settings {differing}; continue it with that version, or give another folder"
        )
    values = {key: (before[key], after[key]) for key in keys if key != "training"}
    values |= {key: (old[key], new[key]) for key in sorted(new) if old[key] != new[key]}
    named = ", ".join(f"{key}={was} (now {now})" for key, (was, now) in values.items())
    return f"the study there was started with {named}; repeat its command, or give another folder"
