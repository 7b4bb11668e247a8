"""The modules that the extras of the package install, and the error if one is missing.

Commands check for them before any work, so that a missing module does not end a command midway.
"""

import importlib.util

from twofold.records import InputError

EXTRAS = {
    "study": ("bm25s", "jinja2", "matplotlib"),
    "semantic": ("faiss",),
    "text": ("sentence_transformers",),
    "serve": ("fastapi", "fastapi_offline", "httpx", "prometheus_client", "uvicorn"),
    "mcp": ("mcp",),
    "cluster": ("ray",),
}
"""Extra -> the modules that it installs."""


class MissingExtraError(InputError):
    """A module that a command or a function needs is not installed; an extra installs it."""

    def __init__(self, extra: str, purpose: str, module: str) -> None:
        super().__init__(
            f'{purpose} needs {module}, which is not installed: install the extra "{extra}" '
            f'(pip install -e ".[{extra}]" in the clone)'
        )


def require_extra(extra: str, purpose: str) -> None:
    """Raise an error unless all modules of an extra are installed; nothing is imported.

    Args:
        extra: a key of `EXTRAS`.
        purpose: the subject of the message: what needs the extra, such as `a study`.

    Raises:
        MissingExtraError: a module is missing; the message has the command that installs it.
    """
    for module in EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(extra, purpose, module)


def missing_extra(error: ModuleNotFoundError, purpose: str) -> MissingExtraError | None:
    """The error for a failed import if an extra installs the module; else None."""
    module = (error.name or "").partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    return MissingExtraError(extra, purpose, module) if extra else None
