"""The contracts of retrievers and of sources, as test classes to inherit from.

They need pytest. A test file for your own retriever is:

    from twofold.testing import RetrieverContract

    class TestMine(RetrieverContract):
        def make(self, dataset):
            return Mine(dataset)
"""

import pytest

# Called before the contracts are imported, so that failed assertions show their values.
pytest.register_assert_rewrite("twofold.testing.retrievers", "twofold.testing.sources")

from twofold.testing.retrievers import RetrieverContract  # noqa: E402
from twofold.testing.sources import SourceContract  # noqa: E402

__all__ = ["RetrieverContract", "SourceContract"]
