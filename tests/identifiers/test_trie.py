"""The trie against sets of prefixes."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.identifiers.identifiers import Identifiers
from twofold.identifiers.trie import Trie, build_trie, excluded_counts, load_trie
from twofold.records import InputError


@st.composite
def identifiers(draw: st.DrawFn, most: int = 40) -> Identifiers:
    """Random semantic IDs, some prefixes with many items."""
    sizes = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    room = int(np.prod(sizes))
    items = draw(st.integers(1, min(most, room)))
    seed = draw(st.integers(0, 10_000))
    chosen = np.random.default_rng(seed).permutation(room)[:items]
    return Identifiers("semantic", np.stack(np.unravel_index(chosen, sizes), axis=1), sizes)


def prefixes(trie: Trie) -> list[list[tuple[int, ...]]]:
    """The prefix of every node, level by level."""
    levels: list[list[tuple[int, ...]]] = [[()]]
    for codes, first in zip(trie.codes, trie.first, strict=True):
        level = [
            (*parent, int(code))
            for number, parent in enumerate(levels[-1])
            for code in codes[first[number] : first[number + 1]]
        ]
        levels.append(level)
    return levels[1:]


@settings(max_examples=100)
@given(identifiers())
def test_a_trie_has_every_prefix_once_in_order(made: Identifiers) -> None:
    trie = build_trie(made)
    rows = [tuple(row) for row in made.codes.tolist()]
    for level, of_level in enumerate(prefixes(trie)):
        assert of_level == sorted({row[: level + 1] for row in rows})
    assert [rows[item] for item in trie.items] == sorted(rows)


@settings(max_examples=100)
@given(identifiers(), st.integers(0, 100))
def test_counts_are_of_the_allowed_items_below_each_node(made: Identifiers, seed: int) -> None:
    trie = build_trie(made)
    allowed = np.random.default_rng(seed).random(len(made)) < 0.5
    rows = made.codes[allowed].tolist()
    for level, of_level in enumerate(prefixes(trie)):
        below = Counter(tuple(row[: level + 1]) for row in rows)
        assert trie.counts(allowed)[level].tolist() == [below[prefix] for prefix in of_level]


@settings(max_examples=50)
@given(identifiers(), st.integers(0, 100))
def test_an_item_leaves_the_counts_and_returns(made: Identifiers, seed: int) -> None:
    trie = build_trie(made)
    counts, item = trie.counts(), seed % len(made)
    trie.change(counts, item, -1)
    wanted = trie.counts(np.arange(len(made)) != item)
    assert all(np.array_equal(a, b) for a, b in zip(counts, wanted, strict=True))
    trie.change(counts, item, 1)
    assert all(np.array_equal(a, b) for a, b in zip(counts, trie.counts(), strict=True))


@settings(max_examples=50)
@given(identifiers(), st.integers(0, 100))
def test_exclusions_are_counted_along_their_paths(made: Identifiers, seed: int) -> None:
    trie, rng = build_trie(made), np.random.default_rng(seed)
    excluded = [np.flatnonzero(rng.random(len(made)) < share) for share in (0.0, 0.3, 1.0)]
    for level, (keys, counts) in enumerate(excluded_counts(trie, excluded)):
        nodes = len(trie.codes[level])
        table = np.zeros((3, nodes), np.int64)
        table[np.divmod(keys, nodes)] = counts
        for row, items in enumerate(excluded):
            allowed = np.ones(len(made), bool)
            allowed[items] = False
            left = trie.counts()[level] - table[row]
            assert left.tolist() == trie.counts(allowed)[level].tolist()


def test_codes_beyond_a_machine_word_are_ordered_too() -> None:
    sizes = (60_000,) * 5
    codes = np.random.default_rng(0).integers(0, 60_000, (200, 5))
    trie = build_trie(Identifiers("semantic", codes, sizes))
    assert codes[trie.items].tolist() == sorted(codes.tolist())


def test_a_trie_survives_its_files(tmp_path: Path) -> None:
    made = Identifiers("semantic", np.stack(np.divmod(np.arange(20), 7), axis=1), (3, 7))
    build_trie(made).save(tmp_path / "trie")
    loaded = load_trie(tmp_path / "trie")
    assert prefixes(loaded) == prefixes(build_trie(made))
    (tmp_path / "trie" / "items.npy").write_bytes(b"")
    assert prefixes(loaded) == prefixes(build_trie(made))  # read, not mapped
    with pytest.raises(InputError, match=r"items.npy: not readable"):
        load_trie(tmp_path / "trie")
