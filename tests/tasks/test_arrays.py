"""The tables as arrays."""

import copy
import pickle

import pytest

from twofold.tasks.arrays import Texts


def test_texts_are_a_sequence_that_can_be_sent() -> None:
    texts = ["", "slow space", "äöü 日本", "", "🍎"]
    made = Texts.of(texts)
    for each in (made, pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert list(each) == texts
        assert [each[row] for row in range(-5, 5)] == [*texts, *texts]
        assert each[1:4] == texts[1:4]
        for row in (5, -6):
            with pytest.raises(IndexError):
                each[row]
