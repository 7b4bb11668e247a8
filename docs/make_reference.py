"""Write docs/reference/ from the program itself: `python docs/make_reference.py`."""

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

import twofold
from twofold.cli import app
from twofold.studies.result import result_schema
from twofold.training.config import PRESETS, TrainingConfig

_MADE = "Made by `python docs/make_reference.py`."
_CLASSES = (
    "twofold.studies.study.Study",
    "twofold.tasks.prepared.PreparedDataset",
    "twofold.tasks.evaluate.Evaluation",
    "twofold.records.RankedItem",
    "twofold.records.Retriever",
    "twofold.serving.client.Client",
)
"""The classes that the public functions take and return, apart from the public names."""


def commands() -> str:
    """Every command with its arguments and options."""
    lines = ["# Commands", "", _MADE, ""]
    for name, command in _verbs(typer.main.get_command(app)):
        lines += [f"## twofold {name}", "", command.help, "", "| | | default |", "|---|---|---|"]
        lines += [_parameter(parameter) for parameter in command.params]
        lines.append("")
    return "\n".join(lines)


def _verbs(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _verbs(command, f"{before}{name} ")
        else:
            yield before + name, command


def _parameter(parameter: Any) -> str:
    shown = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.param_type_name == "argument":
        shown = parameter.name.upper()
    default = parameter.default
    told = "" if callable(default) or default in (None, False) else f"`{_plain(default)}`"
    if parameter.required:
        told = "required"
    return f"| `{shown}` | {_cell(getattr(parameter, 'help', '') or '')} | {told} |"


def _plain(value: Any) -> Any:
    """An enumeration's member as it is typed."""
    return getattr(value, "value", value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def settings() -> str:
    """Every training setting with its default, and what each preset changes."""
    lines = ["# Training settings", "", _MADE, ""]
    lines += [
        "Change one with `--set KEY=VALUE`, several with `--config FILE` (a JSON object).",
        "",
    ]
    lines += ["| setting | default | |", "|---|---|---|"]
    for name, field in TrainingConfig.model_fields.items():
        lines.append(f"| `{name}` | `{_shown(field.default)}` | {_cell(field.description or '')} |")
    lines += [
        "",
        "## Presets",
        "",
        "`--budget NAME` chooses a preset. Each changes the defaults:",
        "",
    ]
    for name, changes in PRESETS.items():
        told = ", ".join(f"`{key}={_shown(value)}`" for key, value in changes.items())
        lines.append(f"- `{name}`: {told or 'nothing; these are the defaults'}")
    return "\n".join([*lines, ""])


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def python() -> str:
    """Every public name with signature and docstring, and the classes that they return."""
    lines = ["# Python", "", _MADE, "", "## Public names", ""]
    lines += ["`import twofold` loads no torch; a name is loaded when it is first used.", ""]
    for name in twofold.__all__:
        lines += _entry(f"twofold.{name}", getattr(twofold, name))
    lines += ["## What they take and return", ""]
    for path in _CLASSES:
        lines += _entry(path, _named(path))
    return "\n".join(lines)


def _named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _entry(path: str, value: Any) -> list[str]:
    lines = [f"### {path}", ""]
    if inspect.isfunction(value):
        lines += _signature(value.__name__, value)
    lines += _prose(value)
    for name, method in _methods(value) if inspect.isclass(value) else ():
        lines += [*_signature(f"{value.__name__}.{name}", method), *_prose(method)]
    return lines


def _prose(value: Any) -> list[str]:
    """A docstring as Markdown: a section such as `Args:` becomes a list of its entries, and the
    last one, `Example:`, a block of code.
    """
    lines: list[str] = []
    text, _, example = (inspect.getdoc(value) or "").partition("\n\nExample:\n")
    for line in text.replace("<", "\\<").splitlines():
        section = re.fullmatch(r"(Args|Attributes|Raises|Returns):", line)
        entry = re.fullmatch(r"    ([\w, *]+): (.*)", line)
        if section:
            lines += [f"*{section[1]}*", ""]
        elif entry:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        else:
            lines.append(line.removeprefix("      "))
    if example:
        lines += ["", "*Example*", "", "```python", textwrap.dedent(example), "```"]
    return [*lines, ""] if lines else []


def _methods(value: type) -> Iterator[tuple[str, Any]]:
    """Public methods, in the order of the source; not those that a library's base brings."""
    for name, member in vars(value).items():
        function = getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def _signature(name: str, function: Any) -> list[str]:
    """A function as one would write it, one parameter per line where there are several."""
    parts = inspect.signature(function)
    given = [p for p in parts.parameters.values() if p.name not in ("self", "cls")]
    parameters = [_short(p) for p in given]
    named = [p.kind is p.KEYWORD_ONLY for p in given]
    if any(named):
        parameters.insert(named.index(True), "*")
    returned = "" if parts.return_annotation is parts.empty else f" -> {_returned(parts)}"
    written = f"{name}({', '.join(parameters)}){returned}"
    if len(written) > 100:
        inner = "".join(f"    {parameter},\n" for parameter in parameters)
        written = f"{name}(\n{inner}){returned}"
    return ["```text", written, "```", ""]


def _short(given: Any) -> str:
    """Types without the modules that they come from."""
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", str(given))


def _returned(parts: inspect.Signature) -> str:
    given = parts.return_annotation
    return given.__name__ if isinstance(given, type) else _short(given)


def study_json() -> str:
    """The keys of study.json, from its JSON Schema."""
    schema = result_schema()
    lines = ["# study.json", "", _MADE, ""]
    lines += [schema["description"], "", "`twofold.studies.result.result_schema()` makes the JSON"]
    lines += ["Schema of the types. `KEY` in capitals stands for any name.", ""]
    for key, part in schema["properties"].items():
        lines += [f"## {key}", ""]
        rows = list(_keys(_resolved(part, schema), schema))
        described = _resolved(part, schema).get("description", "")
        lines += [described, ""] if described else []
        if rows:
            lines += ["| key | type | |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of a schema, with what it refers to; of a part or null, the part."""
    options = [option for option in part.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        return _resolved({**options[0], **{k: v for k, v in part.items() if k != "anyOf"}}, schema)
    if "$ref" not in part:
        return part
    target: Any = schema
    for name in part["$ref"].removeprefix("#/").split("/"):
        target = target[name]
    return {**target, **{key: value for key, value in part.items() if key != "$ref"}}


def _keys(
    part: Mapping[str, Any], schema: Mapping[str, Any], path: str = "", depth: int = 0
) -> Iterator[str]:
    """A row for each key below a part, three levels deep."""
    named = {name: part.get("properties", {}).get(name, {}) for name in part.get("required", ())}
    named |= part.get("properties", {})
    if isinstance(part.get("additionalProperties"), dict):
        named["KEY"] = part["additionalProperties"]
    if part.get("type") == "array" and "items" in part:
        yield from _keys(_resolved(part["items"], schema), schema, f"{path}[]", depth)
    for name, given in named.items():
        inner = _resolved(given, schema)
        shown = f"{path}.{name}".removeprefix(".")
        yield f"| `{shown}` | {_type(given, schema)} | {_cell(inner.get('description', ''))} |"
        if depth < 2:
            yield from _keys(inner, schema, shown, depth + 1)


def _type(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "anyOf" in part:
        return " or ".join(_type(option, schema) for option in part["anyOf"])
    part = _resolved(part, schema)
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    kind = part.get("type", "")
    return " or ".join(kind) if isinstance(kind, list) else kind


PAGES = {"cli": commands, "settings": settings, "python": python, "study-json": study_json}


def page(name: str) -> str:
    """One page of the reference, as its file should be."""
    return PAGES[name]().rstrip() + "\n"


def main() -> None:
    """Write every page that differs."""
    for name in PAGES:
        path = Path(__file__).parent / "reference" / f"{name}.md"
        path.write_text(page(name), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
