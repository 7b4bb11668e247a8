"""Semantic identifiers: unique whatever the vectors, and reported as counting by hand gives."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.encoders.vectors import Vectors
from twofold.identifiers import rq_vae
from twofold.identifiers.identifiers import Identifiers, QuantizerName
from twofold.identifiers.quantizers import QUANTIZERS, fit_quantizer
from twofold.identifiers.semantic import SemanticCodes, semantic_codes


def _vectors(items: int, distinct: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(distinct, 6)).astype(np.float32)
    return rows[np.arange(items) % distinct]


def _identifiers(made: SemanticCodes) -> Identifiers:
    return Identifiers("semantic", made.codes, made.codebook_sizes)


@pytest.mark.parametrize("name", QUANTIZERS)
@settings(max_examples=10)
@given(items=st.integers(1, 60), distinct=st.integers(1, 60))
def test_no_two_items_share_an_identifier(name: QuantizerName, items: int, distinct: int) -> None:
    vectors = _vectors(items, distinct)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rq_vae, "STEPS", 3)
        made = semantic_codes(vectors, name, (2, 16))
        prefixes = fit_quantizer(name, vectors, 2, 16).encode(vectors)
    assert len(_identifiers(made)) == items
    assert np.array_equal(made.codes[:, :2], prefixes)
    groups = Counter(tuple(row) for row in prefixes.tolist())
    assert made.report.collisions == sum(size for size in groups.values() if size > 1)
    assert made.report.largest_group == max(groups.values())
    assert made.report.added_level == (max(groups.values()) > 1) == (made.codes.shape[1] == 3)


def test_collisions_are_resolved_in_catalog_order() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [0, 1]], np.float32)
    made = semantic_codes(vectors, shape=(2, 16))
    assert made.codes[:, -1].tolist() == [0, 0, 1, 2, 1]
    assert made.codebook_sizes[-1] == 3


@pytest.mark.parametrize("vector", [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
def test_equal_vectors_make_one_group(vector: list[float]) -> None:
    made = semantic_codes(np.tile(np.array(vector, np.float32), (20, 1)))
    assert made.codes[:, -1].tolist() == list(range(20))
    assert made.report.collisions == made.report.largest_group == 20
    assert made.report.without_vector == (0 if any(vector) else 20)
    assert made.report.prefix_entropy == (0.0, 0.0)


def test_without_collisions_no_level_is_added() -> None:
    made = semantic_codes(_vectors(12, 12), shape=(2, 16))
    assert made.codes.shape == (12, 2)
    assert not made.report.added_level
    assert (made.report.collisions, made.report.largest_group) == (0, 1)


def test_the_report_is_what_counting_gives() -> None:
    made = semantic_codes(_vectors(400, 300), shape=(3, 16))
    for level, report in enumerate(made.report.levels):
        shares = np.array(list(Counter(made.codes[:, level].tolist()).values())) / 400
        entropy = -sum(share * np.log2(share) for share in shares)
        assert report.size == made.codebook_sizes[level]
        assert report.used == len(shares) / report.size
        assert report.entropy == pytest.approx(entropy)
        assert report.perplexity == pytest.approx(2**entropy)
    for depth, entropy_of_prefix in enumerate(made.report.prefix_entropy, start=1):
        prefixes = Counter(tuple(row) for row in made.codes[:, :depth].tolist())
        shares = np.array(list(prefixes.values())) / 400
        assert entropy_of_prefix == pytest.approx(-sum(share * np.log2(share) for share in shares))
