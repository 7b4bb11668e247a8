"""Decoding steps give the states that training sees, wherever the hypotheses are."""

import numpy as np
import pytest
import torch

from tests.model.random_model import BACKBONES, grid, random_model
from twofold.identifiers.identifiers import shared
from twofold.model.checkpoint import GenerativeModel
from twofold.model.decoding import Ancestors, steps_of
from twofold.records import Ints
from twofold.training_examples import Example


def _states_in_training(model: GenerativeModel, history: Ints, item: int) -> torch.Tensor:
    """The states that generate an item's codes, (levels, D)."""
    example = Example(
        history=history, query=None, targets=np.array([item]), visible=np.array([len(history)])
    )
    batch = model.vocabulary.collate(model.vocabulary.encode(example))
    return model.backbone.states(batch)


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_the_states_of_hypotheses_are_those_of_training(name: str) -> None:
    """Hypotheses of two requests that change places from step to step, and share parents."""
    identifiers = grid(3, 3, 3)
    model = random_model(shared(identifiers), name, 0)
    histories = [np.array([5]), np.array([1, 20, 7, 13])]
    batch = model.vocabulary.collate(
        [model.vocabulary.encode_request(history, None) for history in histories]
    )
    start = torch.from_numpy(model.vocabulary.code_tokens("recommendation"))
    steps = steps_of(model.backbone, batch, codes=2, beams=4)
    first = steps.first()
    firsts = torch.tensor([[2, 0], [1, 2]])  # the first codes of two hypotheses of each request
    second = steps.next(start[0] + firsts, torch.zeros_like(firsts))
    parents = torch.tensor([[1, 0, 0, 1], [0, 0, 1, 0]])
    seconds = torch.tensor([[2, 1, 0, 0], [1, 2, 2, 0]])
    third = steps.next(start[1] + seconds, parents)
    assert third.shape == (2, 4, 64)
    for row, history in enumerate(histories):
        for place, (parent, code) in enumerate(zip(parents[row], seconds[row], strict=True)):
            prefix = [int(firsts[row, parent]), int(code)]
            item = int(np.flatnonzero((identifiers.codes[:, :2] == prefix).all(axis=1))[0])
            expected = _states_in_training(model, history, item)
            decoded = torch.stack([first[row], second[row, parent], third[row, place]])
            torch.testing.assert_close(decoded, expected, atol=1e-3, rtol=1e-3)


def test_a_hypothesis_sees_its_ancestors_and_itself() -> None:
    ancestors = Ancestors()
    assert ancestors.mask(torch.tensor([[0, 0]])).int().tolist() == [[[1, 0], [0, 1]]]
    grown = ancestors.mask(torch.tensor([[1, 1, 0]])).int().tolist()
    assert grown == [[[0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]]]
