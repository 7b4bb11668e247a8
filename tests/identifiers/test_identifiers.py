"""What an identifier scheme must refuse; the shared contract is in tests/contracts."""

import numpy as np
import pytest

from twofold.identifiers.identifiers import Identifiers


def test_two_items_never_share_an_identifier() -> None:
    with pytest.raises(ValueError, match="two items share an identifier"):
        Identifiers("semantic", np.array([[0, 1], [0, 1]]), (2, 2))


def test_codes_lie_within_their_codebooks() -> None:
    with pytest.raises(ValueError, match="outside its codebook"):
        Identifiers("semantic", np.array([[0, 2]]), (2, 2))
    with pytest.raises(ValueError, match="for 1 levels"):
        Identifiers("semantic", np.array([[0, 1]]), (2,))
