"""What the extras of the package bring, and the one line that names a missing one.

A command asks before its work begins, so that nothing is half done when a library is missing.
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
"""Extra -> the modules that it brings."""


class MissingExtraError(InputError):
    """A part of the program was asked for whose libraries are not installed."""

    def __init__(self, extra: str, purpose: str, module: str) -> None:
        super().__init__(
            f'{purpose} needs {module}, which is not installed: install the extra "{extra}" '
            f'(pip install -e ".[{extra}]" in the clone)'
        )


def require_extra(extra: str, purpose: str) -> None:
    """Return where every module of an extra is installed; nothing is imported.

    Args:
        extra: a key of `EXTRAS`.
        purpose: what needs it, the subject of the message, such as `a study`.

    Raises:
        MissingExtraError: naming the first missing module and the command that installs it.
    """
    for module in EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(extra, purpose, module)


def missing_extra(error: ModuleNotFoundError, purpose: str) -> MissingExtraError | None:
    """What a failed import says where an extra brings the module; None where no extra does."""
    module = (error.name or "").partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    return MissingExtraError(extra, purpose, module) if extra else None
