"""The embedding table of a large catalog, of which a training step reads and changes few rows.

AdamW over such a table would take far longer than the rest of a step, since it visits all rows, and
hold two more tables. Here a step costs what its own rows cost. What weight decay and the average of
the weights do to the other rows is made up for when a gradient next reaches them, or all together
at a validation: they are then what they would be had every step with these gradients visited them.
The forward pass reads a row as it was left: with the default decay (1e-5 of a row a step) that is
within half a percent over the steps between two visits.

Shapes: R rows of the table, S rows of a step, D width.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

_SETTLED_AT_ONCE = 1 << 16
"""Rows that are made up for at once: 32 MB of float32 at a width of 128."""
_FORGET, _SMALLEST = 0.999, 1e-8
"""beta2 and epsilon of AdamW."""
_MOST_DECAY = 1 - 1e-6
"""The most of a row that weight decay takes in a step."""


@dataclass(slots=True, eq=False)
class _Passed:
    """What the steps so far do to a row that none of them touches, as numbers.

    Attributes:
        steps: how many they are.
        log_decay: the log of what weight decay leaves of the row.
        mean: what the steps since all rows were last settled add to the average of that, as
            `averaging` weighs them, relative to its last value. Of all steps it would grow without
            bound, and differences of it would lose every digit.
    """

    steps: int = 0
    log_decay: float = 0.0
    mean: float = 0.0


class RowWise:
    """Optimizer and average of one table with sparse gradients; changes the table in place.

    The optimizer is AdamW without momentum, and with one second moment a row (as in the row-wise
    optimizers of FBGEMM): the mean square of the row's gradient. It fades with every step, also
    while the row is not touched, as in AdamW: a rare row takes larger steps.

    Args:
        table: the embeddings, (R, D).
        weight_decay: as in AdamW.
        averaging: the share of the steps so far that the average looks back over; 0 for none.

    Attributes:
        table: the same.
        average: the average of the table, (R, D), as of the last `settle`; None for none.
        state: second moment, and what was passed at the last visit, of every row, (R,) each.
    """

    def __init__(self, table: nn.Parameter, weight_decay: float, averaging: float) -> None:
        self.table = table
        self.average = table.detach().clone() if averaging else None
        self._weight_decay = weight_decay
        self._power = 1 / averaging if averaging else 0.0
        rows, place = len(table), table.device
        self.state = {
            "second": torch.zeros(rows, device=place),
            "steps": torch.zeros(rows, device=place),
            "log_decay": torch.zeros(rows, dtype=torch.float64, device=place),
            "mean": torch.zeros(rows, dtype=torch.float64, device=place),
            "passed": torch.zeros(3, dtype=torch.float64),
        }

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One step, by the table's gradient: a coalesced sparse tensor."""
        grad = self.table.grad
        assert grad is not None
        assert grad.is_coalesced()
        rows, values = grad._indices()[0], grad._values().float()
        self._settle(rows)
        before = self._passed.log_decay
        passed = self._advance(learning_rate)
        second = self.state["second"][rows].mul_(_FORGET)
        second += (1 - _FORGET) * values.square().mean(dim=1)
        self.state["second"][rows] = second
        scale = (second / (1 - _FORGET**passed.steps)).sqrt_().add_(_SMALLEST)
        weights = self.table[rows].mul_(math.exp(passed.log_decay - before))
        weights.sub_(values * (learning_rate / scale)[:, None])
        self.table[rows] = weights
        if self.average is not None:
            kept = self._kept(passed.steps - 1, passed.steps)
            self.average[rows] = self.average[rows].lerp_(weights, 1 - kept)
        self._note(rows)

    @torch.no_grad()
    def settle(self) -> None:
        """Make up for all steps that did not touch a row, in every row of table and average."""
        for start in range(0, len(self.table), _SETTLED_AT_ONCE):
            stop = min(start + _SETTLED_AT_ONCE, len(self.table))
            rows = torch.arange(start, stop, device=self.table.device)
            self._settle(rows)
            self._note(rows)
        self.state["passed"][2] = 0.0
        self.state["mean"].zero_()

    def swap(self) -> None:
        """Exchange table and average."""
        if self.average is not None:
            self.average, self.table.data = self.table.data, self.average

    def _kept(self, before: int, now: int) -> float:
        """The share of its old value that an average of so many steps keeps, steps later."""
        return float((before / now) ** self._power) if now else 1.0

    @property
    def _passed(self) -> _Passed:
        steps, log_decay, mean = self.state["passed"].tolist()
        return _Passed(int(steps), log_decay, mean)

    def _advance(self, learning_rate: float) -> _Passed:
        """Count one more step."""
        before = self._passed
        decay = math.log1p(-min(learning_rate * self._weight_decay, _MOST_DECAY))
        kept = self._kept(before.steps, before.steps + 1)
        passed = _Passed(
            before.steps + 1,
            before.log_decay + decay,
            kept * before.mean * math.exp(-decay) + 1 - kept,
        )
        self.state["passed"].copy_(
            torch.tensor([passed.steps, passed.log_decay, passed.mean], dtype=torch.float64)
        )
        return passed

    def _settle(self, rows: torch.Tensor) -> None:
        """Bring rows of table and average to the steps so far; `_note` must follow.

        With p the power of the average, D what decay leaves of a row and A the average of D, in
        which steps before all rows were last settled may be left out, a row w last seen at step c
        is w D / D_c now, and its average is k x average + w (A - k A_c) / D_c with
        k = (c / steps)^p.
        """
        passed, state = self._passed, self.state
        if not passed.steps:
            return
        steps = state["steps"][rows]
        state["second"][rows] *= _FORGET ** (passed.steps - steps)
        left = (passed.log_decay - state["log_decay"][rows]).exp()
        weights = self.table[rows]
        if self.average is not None:
            kept = (steps.double() / passed.steps) ** self._power
            share = passed.mean * left - kept * state["mean"][rows]
            average = self.average[rows].mul_(kept[:, None].float())
            self.average[rows] = average.add_(weights * share[:, None].float())
        if self._weight_decay:
            self.table[rows] = weights.mul_(left[:, None].float())

    def _note(self, rows: torch.Tensor) -> None:
        """Write down that rows are as of the steps so far."""
        passed = self._passed
        self.state["steps"][rows] = passed.steps
        self.state["log_decay"][rows] = passed.log_decay
        self.state["mean"][rows] = passed.mean
