"""Texts use the words of docs/glossary.md: a list of words and phrases to avoid, with the remedy.

Held are all documents, the help of every command, and the docstrings and comments of the source.
A legitimate use is written differently or listed in `_ALLOWED`.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.docs.pages import PAGES, ROOT, name_of
from twofold.cli import app

_AVOIDED = {
    r"bars?\b(?! chart)": "threshold or target value; a progress bar is called one",
    r"DESIGN|EVIDENCE\.md|PAPER\.md": "nothing outside the repository: say it here",
    r"laws?": "distribution (popularity distribution, test distribution)",
    r"in line\b(?! with)|a full line|line of requests": "queued; the queue is full",
    r"compan(?:y|ies)": "batch, or batching window",
    r"go(?:es)? on with|codes that go on|what goes on": "valid continuations; continue",
    r"(?:go|goes|going|went) on\b": "continue, resume",
    r"(?:told|tells?|telling) (?:\w+ ){0,2}apart": "distinguish; of codes: resolve collisions",
    r"crowds?|crowded": "negative requests",
    r"sharpness": "scale, inverse temperature",
    r"beside": "next to, in addition to, compared with",
    r"whoever|who knows the": "name the agent: the client, the user",
    r"thinks? (?:nothing )?of": "say what is computed",
    r"gives? way|giving way": "has a lower priority",
    r"pulls?|pulled": "influence, moves",
    r"silence[sd]? blocks|silence_blocks": "zero-initialised",
    r"spells?|spelled|spelt": "of items: an identifier has codes; a target's codes",
    r"slots?": "codebook",
    r"dear": "expensive",
    r"Door": "early load shedding",
    r"updates? of the (?:joint|arm|model)|training updates?": "steps",
    r"of matrices": "of the parameters with two dimensions or more",
}
"""Pattern, bounded by words: what to write instead. Case matters where it says so."""

_ALLOWED = {"progress bar", "progress bars", "error bars", "bar chart"}
"""Phrases in which an avoided word is the field's own; code in backticks is not read at all."""

_HANGING = re.compile(r"Of\s")
"""A text that begins so has lost its subject: "Of weights and order." is a random seed."""


def _avoided(text: str) -> Iterator[str]:
    text = re.sub("|".join([r"`[^`]*`", *_ALLOWED]), "", text)
    for pattern, remedy in _AVOIDED.items():
        for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text):
            around = text[max(0, match.start() - 40) : match.end() + 40].replace("\n", " ")
            yield f"'{match[0]}' in '...{around}...': {remedy}"


def _helps() -> Iterator[tuple[str, str]]:
    def walk(command: Any, name: str) -> Iterator[tuple[str, str]]:
        yield name, command.help or ""
        for parameter in command.params:
            yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""
        for part, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{name} {part}")

    yield from walk(typer.main.get_command(app), "twofold")


def _prose(path: Path) -> list[str]:
    """Docstrings, strings that document a name, and comments of a module."""
    source = path.read_text()
    strings = [
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return strings + [token.string for token in tokens if token.type == tokenize.COMMENT]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_documents_use_the_words_of_the_glossary(page: Path) -> None:
    assert not list(_avoided(page.read_text()))


def test_help_texts_use_the_words_of_the_glossary() -> None:
    for name, text in _helps():
        assert not list(_avoided(text)), name
        assert not _HANGING.match(text), f"{name}: {text}"


@pytest.mark.parametrize("folder", ["src", "examples", "benchmarks", "tests"])
def test_docstrings_and_comments_use_the_words_of_the_glossary(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for text in _prose(path) if path != Path(__file__) else ():
            assert not list(_avoided(text)), path
            assert not _HANGING.match(text), f"{path}: {text}"
