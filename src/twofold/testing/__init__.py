"""Contracts that every retriever and every source keeps, as test classes to inherit from.

Needs pytest. A test file of your own holds:

    from twofold.testing import RetrieverContract

    class TestMine(RetrieverContract):
        def make(self, dataset):
            return Mine(dataset)
"""

import pytest

# Before the imports of the contracts, or a failed assertion would show no values.
pytest.register_assert_rewrite("twofold.testing.retrievers", "twofold.testing.sources")

from twofold.testing.retrievers import RetrieverContract  # noqa: E402
from twofold.testing.sources import SourceContract  # noqa: E402

__all__ = ["RetrieverContract", "SourceContract"]
