"""Makes the semantic IDs of a dataset's catalog."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from twofold.encoders.vectors import Vectors
from twofold.extras import require_extra
from twofold.identifiers.embeddings import id_embeddings, possible_strategies
from twofold.identifiers.identifiers import (
    Identifiers,
    IdSpaces,
    ItemIdentifiers,
    SemanticScheme,
    Strategy,
    default_shape,
    shared,
)
from twofold.records import InputError, Task
from twofold.tasks.prepared import PreparedDataset

VectorsOf = Callable[[Strategy], Vectors]
"""A strategy -> the vectors of the catalog's items, (N, D)."""


def semantic_identifiers(
    dataset: PreparedDataset, scheme: SemanticScheme, vectors_of: VectorsOf | None = None
) -> ItemIdentifiers:
    """Semantic IDs of a dataset's catalog.

    Args:
        dataset: its training split and its items' texts are learned from.
        scheme: how the identifiers are made.
        vectors_of: the item vectors of a strategy; `id_embeddings` by default.

    Raises:
        InputError: the dataset lacks data that the scheme needs, or the extra `semantic` is
            missing.
    """
    require_extra("semantic", "a model with semantic IDs")
    maker = _IdentifierMaker(
        scheme, vectors_of or partial(id_embeddings, dataset), len(dataset.catalog)
    )
    embeddings: str = scheme.embeddings
    if scheme.space == "separate":
        if embeddings != "auto":
            raise InputError(
                f"id_space 'separate': each task's codes come from its own vectors, so there is no "
                f"choice of embeddings; leave out '{embeddings}'"
            )
        spaces = IdSpaces(
            recommendation=maker.of("recommendation"), search=maker.of("search"), shared_levels=0
        )
        embeddings = "recommendation and search"
    else:
        common = scheme.embeddings
        if common == "auto":
            common = embeddings = _best_of(possible_strategies(dataset))
        if scheme.space == "shared-prefix":
            spaces = maker.with_shared_prefix(common)
        else:
            spaces = shared(maker.of(common))
    description = {"kind": "semantic", **asdict(scheme), "embeddings": embeddings}
    return ItemIdentifiers(spaces, description | maker.reports)


def schemes(dataset: PreparedDataset, shape: SemanticScheme) -> dict[str, SemanticScheme]:
    """Every scheme of one shape for which there are enough data, by name.

    They are the rows of the first table of Penha et al., RecSys 2025: each kind of item vectors in
    one shared space, then the ID spaces in which each task has its own codes. With a single level
    there is no prefix to share.
    """
    possible = possible_strategies(dataset)
    by_name: dict[str, SemanticScheme] = {
        strategy: replace(shape, embeddings=strategy, space="shared") for strategy in possible
    }
    if "multi-task" in possible:
        by_name["separate"] = replace(shape, embeddings="auto", space="separate")
    if "multi-task" in possible and shape.levels != 1:
        by_name["shared-prefix"] = replace(shape, embeddings="multi-task", space="shared-prefix")
    return by_name


def _best_of(possible: tuple[Strategy, ...]) -> Strategy:
    order: tuple[Strategy, ...] = ("multi-task", "search", "recommendation", "text")
    return next((strategy for strategy in order if strategy in possible), "multi-task")


class _IdentifierMaker:
    """Makes identifiers from vectors, and reports how evenly their codes are used."""

    def __init__(self, scheme: SemanticScheme, vectors_of: VectorsOf, items: int) -> None:
        levels, size = default_shape(items)
        self.shape = scheme.levels or levels, scheme.codebook_size or size
        self.reports: dict[str, Any] = {}
        self._quantizer, self._vectors_of = scheme.quantizer, vectors_of

    def of(self, embeddings: Strategy) -> Identifiers:
        """One identifier for each item, from the vectors of a strategy."""
        # Imported here, so that a study without the extra `semantic` can list the schemes.
        from twofold.identifiers.semantic import semantic_codes

        coded = semantic_codes(self._vectors_of(embeddings), self._quantizer, self.shape)
        self.reports[f"codes of {embeddings}"] = asdict(coded.report)
        return Identifiers("semantic", coded.codes, coded.codebook_sizes)

    def with_shared_prefix(self, embeddings: Strategy) -> IdSpaces:
        """All levels but the last from `embeddings`, the last from vectors of each task."""
        from twofold.identifiers.quantizers import fit_quantizer
        from twofold.identifiers.semantic import code_report, resolve_collisions

        levels, size = self.shape
        if levels < 2:
            raise InputError(
                f"id_space 'shared-prefix': levels={levels} leaves no level for the tasks to "
                f"share; give 2 or more"
            )
        vectors = self._vectors_of(embeddings)
        prefix = fit_quantizer(self._quantizer, vectors, levels - 1, size)
        prefix_codes = prefix.encode(vectors)

        def with_last_level(task: Task) -> Identifiers:
            vectors_of_task = self._vectors_of(task)
            last = fit_quantizer(self._quantizer, vectors_of_task, 1, size)
            codes = np.hstack([prefix_codes, last.encode(vectors_of_task)])
            sizes = (*prefix.codebook_sizes, *last.codebook_sizes)
            report = code_report(codes, sizes, vectors_of_task)
            self.reports[f"codes of {embeddings}, then {task}"] = asdict(report)
            return Identifiers("semantic", *resolve_collisions(codes, sizes))

        return IdSpaces(
            recommendation=with_last_level("recommendation"),
            search=with_last_level("search"),
            shared_levels=levels - 1,
        )
