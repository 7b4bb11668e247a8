"""From a dataset to the identifiers of its catalog, as a user asks for them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from twofold.encoders.encoders import Vectors
from twofold.identifiers.embeddings import item_embeddings, possible_strategies
from twofold.identifiers.identifiers import Identifiers, IdSpaces, atomic, shared
from twofold.identifiers.quantizers import fit_quantizer
from twofold.identifiers.scheme import SemanticScheme, Strategy
from twofold.identifiers.semantic import default_shape, semantic_codes, told_apart
from twofold.records import Task
from twofold.tasks.prepared import PreparedDataset


@dataclass(frozen=True, slots=True)
class NamedCatalog:
    """The identifiers of a catalog, and what is worth knowing of them.

    Attributes:
        spaces: the identifiers.
        description: for the stamp: how they were made, how the codes are used.
    """

    spaces: IdSpaces
    description: Mapping[str, Any] = field(default_factory=dict)


VectorsOf = Callable[[Strategy], Vectors]


def atomic_catalog(dataset: PreparedDataset) -> NamedCatalog:
    """One code an item."""
    return NamedCatalog(shared(atomic(len(dataset.catalog))), {"kind": "atomic"})


def semantic_catalog(
    dataset: PreparedDataset, scheme: SemanticScheme, vectors_of: VectorsOf | None = None
) -> NamedCatalog:
    """Semantic IDs.

    Args:
        dataset: its training split and item texts are learned from.
        scheme: how.
        vectors_of: vectors of the items by strategy; `item_embeddings` by default.

    Raises:
        InputError: the data lack what the scheme needs.
    """
    make = _Codes(scheme, vectors_of or partial(item_embeddings, dataset), len(dataset.catalog))
    embeddings = scheme.embeddings
    if embeddings == "auto":
        embeddings = _best_of(possible_strategies(dataset))
    if scheme.space == "separate":
        ours, theirs = make.of("recommendation"), make.of("search")
        spaces = IdSpaces(ours, theirs, 0)
    elif scheme.space == "shared-prefix":
        ours, theirs = make.ending(embeddings, "recommendation"), make.ending(embeddings, "search")
        spaces = IdSpaces(ours, theirs, make.shape[0] - 1)
    else:
        spaces = shared(make.of(embeddings))
    description = {"kind": "semantic", **asdict(scheme), "embeddings": embeddings}
    return NamedCatalog(spaces, description | make.reports)


def _best_of(possible: tuple[Strategy, ...]) -> Strategy:
    order: tuple[Strategy, ...] = ("multi-task", "search", "recommendation", "text")
    return next((strategy for strategy in order if strategy in possible), "multi-task")


class _Codes:
    """Makes identifiers from vectors, and notes how their codes are used."""

    def __init__(self, scheme: SemanticScheme, vectors_of: VectorsOf, items: int) -> None:
        levels, size = default_shape(items)
        self.shape = scheme.levels or levels, scheme.codebook_size or size
        self.reports: dict[str, Any] = {}
        self._scheme, self._vectors_of = scheme, vectors_of

    def of(self, embeddings: Strategy) -> Identifiers:
        """One identifier an item."""
        made = semantic_codes(self._vectors_of(embeddings), self._scheme.quantizer, self.shape)
        self.reports[f"codes of {embeddings}"] = asdict(made.report)
        return Identifiers("semantic", made.codes, made.codebook_sizes)

    def ending(self, embeddings: Strategy, task: Task) -> Identifiers:
        """All levels but the last from `embeddings`, the last from the task's own vectors."""
        levels, size = self.shape
        levels = max(levels, 2)
        prefix = semantic_codes(
            self._vectors_of(embeddings), self._scheme.quantizer, (levels - 1, size)
        )
        self.reports[f"codes of {embeddings}"] = asdict(prefix.report)
        ending = fit_quantizer(self._scheme.quantizer, self._vectors_of(task), 1, size)
        codes = [prefix.codes[:, : levels - 1], ending.encode(self._vectors_of(task))]
        sizes = (*prefix.codebook_sizes[: levels - 1], *ending.codebook_sizes)
        return Identifiers("semantic", *told_apart(codes, sizes))
