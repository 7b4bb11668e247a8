"""The valid continuations of contexts, over which the loss of semantic IDs is normalised.

Shapes: C contexts.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from twofold.identifiers.identifiers import IdSpaces
from twofold.identifiers.trie import Trie
from twofold.model.kernels import segment_indices
from twofold.records import Task


class Continuations(NamedTuple):
    """The valid continuations of each context: the codes over which its softmax is taken.

    Attributes:
        begins, ends: their range in `codes`, (C,).
        codes: the codes of all trie nodes of the level, (nodes,).
    """

    begins: torch.Tensor
    ends: torch.Tensor
    codes: torch.Tensor

    def invalid(self, chunk: slice, codes: int) -> torch.Tensor:
        """A mask of the level's codes that are not valid continuations of a chunk of contexts, (C,
        codes).
        """
        begins, counts = self.begins[chunk], self.ends[chunk] - self.begins[chunk]
        contexts, nodes = segment_indices(begins, counts)
        invalid = torch.ones(len(counts), codes, dtype=torch.bool, device=counts.device)
        invalid[contexts, self.codes[nodes]] = False
        return invalid


class TrieLevel(nn.Module):
    """The valid continuations at one level of a trie.

    Args:
        trie: the trie of the identifiers.
        level: the level of the codes.
    """

    begins: torch.Tensor
    ends: torch.Tensor
    codes: torch.Tensor

    def __init__(self, trie: Trie, level: int) -> None:
        super().__init__()
        items = np.arange(len(trie))
        nodes = trie.paths(items)[:, level - 1] if level else np.zeros_like(items)
        first = torch.from_numpy(trie.first[level].astype(np.int64))
        codes = torch.from_numpy(trie.codes[level].astype(np.int64))
        self.register_buffer("begins", first[nodes], persistent=False)
        self.register_buffer("ends", first[nodes + 1], persistent=False)
        self.register_buffer("codes", codes, persistent=False)

    def forward(self, items: torch.Tensor) -> Continuations:
        """The valid continuations of contexts that follow the first codes of `items`, (C,)."""
        return Continuations(self.begins[items], self.ends[items], self.codes)


def trie_levels(spaces: IdSpaces, tries: Mapping[Task, Trie]) -> dict[int, TrieLevel]:
    """The trie level of each codebook that has invalid codes; none for atomic identifiers.

    A first level has no invalid code if every code begins an identifier.
    """
    levels = {}
    for task, trie in tries.items():
        sizes = spaces.of(task).codebook_sizes
        for level, codebook in enumerate(spaces.codebooks_of(task).tolist()):
            if level or len(trie.codes[0]) < sizes[0]:
                levels[codebook] = TrieLevel(trie, level)
    return levels
