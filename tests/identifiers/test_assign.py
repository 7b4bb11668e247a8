"""What a user asks for, and the identifiers that come of it."""

import numpy as np
import pytest

from twofold.encoders.vectors import Vectors
from twofold.identifiers.assign import semantic_identifiers
from twofold.identifiers.identifiers import IdSpace, SemanticScheme, Strategy
from twofold.records import TASKS, InputError
from twofold.tasks.prepared import PreparedDataset


def _vectors(items: int, groups: int, seed: int) -> Vectors:
    """Items of a group stand close together."""
    rng = np.random.default_rng(seed)
    centres = 10 * rng.standard_normal((groups, 8))
    near = centres[np.arange(items) % groups] + 0.1 * rng.standard_normal((items, 8))
    return near.astype(np.float32)


@pytest.mark.parametrize("space", ["shared", "separate", "shared-prefix"])
def test_every_space_names_every_item(catalog: PreparedDataset, space: IdSpace) -> None:
    named = semantic_identifiers(catalog, SemanticScheme(space=space))
    spaces = named.spaces
    assert len(spaces.search) == len(spaces.recommendation) == len(catalog.catalog)
    assert spaces.are_shared == (space == "shared")
    own = "recommendation and search" if space == "separate" else "multi-task"
    assert named.description["embeddings"] == own
    assert named.description["space"] == space
    again = semantic_identifiers(catalog, SemanticScheme(space=space)).spaces
    assert again.digest == spaces.digest
    ends = [spaces.codebooks[codebook].stop for codebook in spaces.codebooks_of("search")]
    assert max(ends) <= spaces.size
    if space == "shared-prefix":
        assert 0 < spaces.shared_levels < spaces.search.levels
        kept = slice(None, spaces.shared_levels)
        assert np.array_equal(spaces.search.codes[:, kept], spaces.recommendation.codes[:, kept])


def test_each_task_has_the_codes_of_its_own_vectors(catalog: PreparedDataset) -> None:
    items = len(catalog.catalog)
    made = {"search": _vectors(items, 3, 0), "recommendation": _vectors(items, 4, 1)}

    def vectors_of(strategy: Strategy) -> Vectors:
        return made[strategy]

    scheme = SemanticScheme(levels=1, codebook_size=12, space="separate")
    spaces = semantic_identifiers(catalog, scheme, vectors_of).spaces
    numbers = np.arange(items)
    for identifiers, groups in ((spaces.search, 3), (spaces.recommendation, 4)):
        for code in np.unique(identifiers.codes[:, 0]):
            same = numbers[identifiers.codes[:, 0] == code]
            assert len(set((same % groups).tolist())) == 1, "a code holds one group alone"


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (SemanticScheme(levels=1, space="shared-prefix"), "levels=1 leaves no level"),
        (SemanticScheme(embeddings="text", space="separate"), "leave out 'text'"),
    ],
)
def test_a_scheme_that_makes_no_sense_is_refused(
    catalog: PreparedDataset, scheme: SemanticScheme, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        semantic_identifiers(catalog, scheme)


def test_codes_of_a_task_are_reported_with_the_shared_prefix(catalog: PreparedDataset) -> None:
    scheme = SemanticScheme(embeddings="text", levels=2, codebook_size=4, space="shared-prefix")
    named = semantic_identifiers(catalog, scheme)
    for task in TASKS:
        report = named.description[f"codes of text, then {task}"]
        codes = named.spaces.of(task).codes[:, :2]
        _, counts = np.unique(codes, axis=0, return_counts=True)
        assert report["collisions"] == counts[counts > 1].sum()
        assert len(report["levels"]) == len(report["prefix_entropy"]) == 2


def test_the_report_counts_the_collisions(catalog: PreparedDataset) -> None:
    scheme = SemanticScheme(embeddings="text", levels=1, codebook_size=4)
    named = semantic_identifiers(catalog, scheme)
    report = named.description["codes of text"]
    assert report["added_level"]
    assert report["collisions"] == len(catalog.catalog)
    assert named.spaces.search.codebook_sizes == (4, report["largest_group"])


def test_without_the_extra_one_line_says_how_to_install_it(
    catalog: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "faiss" else name)
    with pytest.raises(InputError, match=r'^.* needs faiss, .* install the extra "semantic"'):
        semantic_identifiers(catalog, SemanticScheme())
