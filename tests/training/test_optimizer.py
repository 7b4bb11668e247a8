"""A table learned by rows is what visiting all rows in every step would make of it."""

import pytest
import torch
from torch import nn

from twofold.model.kernels import coalesced
from twofold.training.optimizer import RowWiseAdamW

ROWS, WIDTH, RATE = 12, 3, 0.05


def _gradients(steps: int) -> list[torch.Tensor]:
    """Gradients of a few rows each; row 11 has none, row 10 the first only."""
    torch.manual_seed(0)
    found = []
    for step in range(steps):
        rows = torch.randint(0, 10, (4,))
        if step == 0:
            rows[0] = 10
        values = torch.randn(4, WIDTH)
        grad = torch.sparse_coo_tensor(rows[None], values, (ROWS, WIDTH), check_invariants=False)
        found.append(coalesced(grad))
    return found


def _table() -> nn.Parameter:
    torch.manual_seed(1)
    return nn.Parameter(torch.randn(ROWS, WIDTH))


def _visiting_all_rows(
    grads: list[torch.Tensor], decay: float, averaging: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same optimizer and average, plainly."""
    table = _table().detach().double()
    average, second = table.clone(), torch.zeros(ROWS, dtype=torch.float64)
    for step, grad in enumerate(grads, start=1):
        dense = grad.to_dense().double()
        second = 0.999 * second + 0.001 * dense.square().mean(dim=1)
        scale = (second / (1 - 0.999**step)).sqrt() + 1e-8
        table = table * (1 - RATE * decay) - RATE * dense / scale[:, None]
        average = average.lerp(table, 1 - (1 - 1 / step) ** (1 / averaging))
    return table, average


@pytest.mark.parametrize("decay", [0.0, 1.5])
@pytest.mark.parametrize("settled", [[], [3, 4, 20]])
def test_what_passes_a_row_by_is_made_up_for(decay: float, settled: list[int]) -> None:
    grads, learned = _gradients(40), RowWiseAdamW(_table(), decay, averaging=0.125)
    for step, grad in enumerate(grads):
        learned.table.grad = grad
        learned.step(RATE)
        if step in settled:
            learned.settle()
    learned.settle()
    table, average = _visiting_all_rows(grads, decay, averaging=0.125)
    torch.testing.assert_close(learned.table.double(), table, rtol=1e-5, atol=1e-5)
    assert learned.average is not None
    torch.testing.assert_close(learned.average.double(), average, rtol=1e-5, atol=1e-5)


def test_a_settled_table_and_its_average_change_places_and_back() -> None:
    learned = RowWiseAdamW(_table(), 0.1, averaging=0.125)
    for grad in _gradients(5):
        learned.table.grad = grad
        learned.step(RATE)
    learned.settle()
    assert learned.average is not None
    table, average = learned.table.detach().clone(), learned.average.clone()
    learned.swap()
    assert torch.equal(learned.table.detach(), average)
    learned.swap()
    assert torch.equal(learned.table.detach(), table)


def test_without_averaging_there_is_no_second_table() -> None:
    learned = RowWiseAdamW(_table(), 0.1, averaging=0.0)
    for grad in _gradients(5):
        learned.table.grad = grad
        learned.step(RATE)
    learned.settle()
    assert learned.average is None
    table, _ = _visiting_all_rows(_gradients(5), 0.1, averaging=0.125)
    torch.testing.assert_close(learned.table.double(), table, rtol=1e-5, atol=1e-5)
    learned.swap()
    torch.testing.assert_close(learned.table.double(), table, rtol=1e-5, atol=1e-5)


def test_a_rate_that_would_take_all_of_a_row_leaves_numbers() -> None:
    learned = RowWiseAdamW(_table(), 100.0, averaging=0.125)
    learned.table.grad = _gradients(1)[0]
    learned.step(1.0)
    learned.settle()
    assert learned.table.isfinite().all()


def test_a_step_leaves_other_rows_unread() -> None:
    """The cost of a step is that of its rows: others hold what no arithmetic could survive."""
    learned = RowWiseAdamW(_table(), 0.1, averaging=0.125)
    with torch.no_grad():
        learned.table[11] = torch.nan
    for grad in _gradients(3):
        learned.table.grad = grad
        learned.step(RATE)
    assert learned.table[:10].isfinite().all()
    assert learned.state["steps"][11] == 0


def test_the_average_of_a_long_training_keeps_its_digits() -> None:
    """In the end decay has left e^-60 of the first weights."""
    grads, learned = _gradients(1200), RowWiseAdamW(_table(), 1.0, averaging=0.125)
    for step, grad in enumerate(grads, start=1):
        learned.table.grad = grad
        learned.step(RATE)
        if step % 120 == 0:
            learned.settle()
    table, average = _visiting_all_rows(grads, 1.0, averaging=0.125)
    torch.testing.assert_close(learned.table.double(), table, rtol=1e-4, atol=1e-5)
    assert learned.average is not None
    torch.testing.assert_close(learned.average.double(), average, rtol=1e-4, atol=1e-5)
