"""The logits of hypotheses."""

import numpy as np
import pytest
import torch

from tests.model.random_model import grid, random_model
from twofold.identifiers.identifiers import shared
from twofold.retrieval.expansion import Expansion


def test_an_expansion_scores_the_codebook_of_each_level() -> None:
    model = random_model(shared(grid(4, 3)), "decoder:tiny", 0)
    batch = model.batch_of([model.vocabulary.encode_request(np.arange(2), None)] * 2)
    start = np.zeros((2, 1), np.int64)
    with torch.inference_mode():
        expand = Expansion(model, "recommendation", batch, beams=5)
        assert expand(0, start, start).shape == (2, 1, 4)
        second = expand(1, np.array([[0, 1, 3], [2, 2, 0]]), np.zeros((2, 3), np.int64))
    assert second.shape == (2, 3, 3)
    assert second[1, 0] == pytest.approx(second[1, 1], abs=1e-5), "equal hypotheses"
