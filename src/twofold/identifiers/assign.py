"""From a dataset to the identifiers of its catalog, as a user asks for them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from twofold.encoders.vectors import Vectors
from twofold.identifiers.embeddings import item_embeddings, possible_strategies
from twofold.identifiers.identifiers import Identifiers, IdSpaces, atomic, shared
from twofold.identifiers.quantizers import fit_quantizer
from twofold.identifiers.scheme import SemanticScheme, Strategy
from twofold.identifiers.semantic import (
    code_report,
    default_shape,
    resolve_collisions,
    semantic_codes,
)
from twofold.records import InputError, Task
from twofold.tasks.prepared import PreparedDataset


@dataclass(frozen=True, slots=True)
class ItemIdentifiers:
    """The identifiers of a catalog, and what is worth knowing of them.

    Attributes:
        spaces: the identifiers.
        description: for the stamp: how they were made, how the codes are used.
    """

    spaces: IdSpaces
    description: Mapping[str, Any] = field(default_factory=dict)


VectorsOf = Callable[[Strategy], Vectors]


def atomic_identifiers(dataset: PreparedDataset) -> ItemIdentifiers:
    """One code an item."""
    return ItemIdentifiers(shared(atomic(len(dataset.catalog))), {"kind": "atomic"})


def semantic_identifiers(
    dataset: PreparedDataset, scheme: SemanticScheme, vectors_of: VectorsOf | None = None
) -> ItemIdentifiers:
    """Semantic IDs.

    Args:
        dataset: its training split and item texts are learned from.
        scheme: how.
        vectors_of: vectors of the items by strategy; `item_embeddings` by default.

    Raises:
        InputError: the data lack what the scheme needs.
    """
    make = _Codes(scheme, vectors_of or partial(item_embeddings, dataset), len(dataset.catalog))
    embeddings: str = scheme.embeddings
    if scheme.space == "separate":
        if embeddings != "auto":
            raise InputError(
                f"id_space 'separate': each task's codes come from its own vectors, so there is no "
                f"choice of embeddings; leave out '{embeddings}'"
            )
        spaces = IdSpaces(make.of("recommendation"), make.of("search"), 0)
        embeddings = "recommendation and search"
    else:
        common = scheme.embeddings
        if common == "auto":
            common = embeddings = _best_of(possible_strategies(dataset))
        if scheme.space == "shared-prefix":
            spaces = make.with_endings(common)
        else:
            spaces = shared(make.of(common))
    description = {"kind": "semantic", **asdict(scheme), "embeddings": embeddings}
    return ItemIdentifiers(spaces, description | make.reports)


def schemes(dataset: PreparedDataset, shape: SemanticScheme) -> dict[str, SemanticScheme]:
    """Every way to make semantic IDs of one shape that the data hold enough for, by name.

    The strategies by which vectors are made, each in one shared space, then the spaces in which
    each task has codes of its own: the rows of the first table of Penha et al., RecSys 2025. One
    level leaves no prefix to share.
    """
    possible = possible_strategies(dataset)
    found: dict[str, SemanticScheme] = {
        name: replace(shape, embeddings=name, space="shared") for name in possible
    }
    if "multi-task" in possible:
        found["separate"] = replace(shape, embeddings="auto", space="separate")
    if "multi-task" in possible and shape.levels != 1:
        found["shared-prefix"] = replace(shape, embeddings="multi-task", space="shared-prefix")
    return found


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

    def with_endings(self, embeddings: Strategy) -> IdSpaces:
        """All levels but the last from `embeddings`, the last from each task's own vectors."""
        levels, size = self.shape
        if levels < 2:
            raise InputError(
                f"id_space 'shared-prefix': levels={levels} leaves no level for the tasks to "
                f"share; give 2 or more"
            )
        vectors = self._vectors_of(embeddings)
        prefix = fit_quantizer(self._scheme.quantizer, vectors, levels - 1, size)
        beginning = prefix.encode(vectors)

        def ending(task: Task) -> Identifiers:
            own = self._vectors_of(task)
            last = fit_quantizer(self._scheme.quantizer, own, 1, size)
            codes = np.hstack([beginning, last.encode(own)])
            sizes = (*prefix.codebook_sizes, *last.codebook_sizes)
            report = code_report(codes, sizes, own)
            self.reports[f"codes of {embeddings}, then {task}"] = asdict(report)
            return Identifiers("semantic", *resolve_collisions(codes, sizes))

        return IdSpaces(ending("recommendation"), ending("search"), levels - 1)
