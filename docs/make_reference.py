"""Write docs/reference/index.md from the program itself: `python docs/make_reference.py`."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import twofold
from twofold.cli import app
from twofold.training.config import PRESETS, TrainingConfig


def commands() -> list[str]:
    """Every command with its arguments and options."""
    lines = ["## Commands", ""]
    for name, command in _verbs(typer.main.get_command(app)):
        lines += [f"### twofold {name}", "", command.help, "", "| | |", "|---|---|"]
        for parameter in command.params:
            shown = ", ".join([*parameter.opts, *parameter.secondary_opts])
            if parameter.param_type_name == "argument":
                shown = parameter.name.upper()
            default = parameter.default
            told = "" if callable(default) or default in (None, False) else f" Default: {default}."
            lines.append(f"| `{shown}` | {getattr(parameter, 'help', '') or ''}{told} |")
        lines.append("")
    return lines


def _verbs(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _verbs(command, f"{before}{name} ")
        else:
            yield before + name, command


def settings() -> list[str]:
    """Every training setting, and what the presets change."""
    lines = ["## Training settings", "", "| setting | default | |", "|---|---|---|"]
    for name, field in TrainingConfig.model_fields.items():
        lines.append(f"| `{name}` | {field.default} | {field.description or ''} |")
    lines += ["", "Presets: `standard` is the default; the others change:", ""]
    for name, changes in PRESETS.items():
        if changes:
            told = ", ".join(f"`{key}={value}`" for key, value in changes.items())
            lines.append(f"- `{name}`: {told}")
    return [*lines, ""]


def names() -> list[str]:
    """Every public name with its signature and docstring."""
    lines = ["## Python", ""]
    for name in twofold.__all__:
        value = getattr(twofold, name)
        signature = inspect.signature(value) if inspect.isfunction(value) else ""
        lines += [f"### twofold.{name}", ""]
        if signature:
            parameters = ",\n".join(f"    {p}" for p in signature.parameters.values())
            lines += ["```python", f"{name}(\n{parameters},\n)", "```", ""]
        lines += ["```text", inspect.getdoc(value) or "", "```", ""]
    return lines


def reference() -> str:
    """The page."""
    head = ["# Reference", "", "Made by `python docs/make_reference.py`.", ""]
    return "\n".join([*head, *commands(), *settings(), *names()]).rstrip() + "\n"


if __name__ == "__main__":
    page = Path(__file__).parent / "reference" / "index.md"
    page.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"{page}\n")
