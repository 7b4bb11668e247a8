"""AdamW, a row-wise AdamW for a large embedding table, and the average of the weights.

In the table of a large catalog, a training step reads and changes few rows. AdamW over the whole
table would take far longer than the rest of the step, and need memory for two more tables.
`RowWiseAdamW` updates only the rows of a step. For the other rows, weight decay and averaging are
deferred: they are applied to a row when it next has a gradient, and to all rows at a validation.
The rows then have the values that they would have if every step with these gradients had updated
them. The forward pass reads a row before its deferred decay is applied: with the default decay
(1e-5 of a row per step), the difference is within half a percent over the steps between two visits.

Shapes: R rows of the table, S rows of a step, D width.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from twofold.model.backbone import Backbone
from twofold.model.kernels import coalesced
from twofold.training.config import TrainingConfig
from twofold.training.state import Progress, Tensors

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
"""The default settings of AdamW in torch."""
_UPDATED_EVERY = 4
"""The number of steps between two updates of the average; an update costs a tenth of a small step.
"""
_SETTLED_AT_ONCE = 1 << 16
"""The number of rows that are settled at once: 32 MB of float32 at a width of 128."""
_MAX_DECAY = 1 - 1e-6
"""The largest share of a row that weight decay subtracts in a step."""


@dataclass(slots=True, eq=False)
class _Passed:
    """The effect of the steps so far on a row without a gradient.

    Attributes:
        steps: the number of steps.
        log_decay: the log of the factor by which weight decay has multiplied the row.
        mean: the part of the average that comes from the steps since all rows were last settled,
            relative to the row's last value. Over all steps it would grow without bound, and
            differences of it would lose all precision.
    """

    steps: int = 0
    log_decay: float = 0.0
    mean: float = 0.0


class RowWiseAdamW:
    """Optimizer and average of one table with sparse gradients; changes the table in place.

    It is AdamW without momentum and with one second moment for each row, the mean square of the
    row's gradient, as in the row-wise optimizers of FBGEMM. As in AdamW, the moment decays in every
    step, also if the row has no gradient. So a rare row takes larger steps.

    Args:
        table: the embeddings, (R, D).
        weight_decay: as in AdamW.
        averaging: the share of the steps so far that the average covers; 0 for no average.

    Attributes:
        table: the embeddings.
        average: the average of the table, (R, D), as of the last `settle`; None without averaging.
        state: the second moment of every row, and `_Passed` at its last visit, (R,) each; `passed`
            has the present `_Passed`.
    """

    def __init__(self, table: nn.Parameter, weight_decay: float, averaging: float) -> None:
        self.table = table
        self.average = table.detach().clone() if averaging else None
        self._weight_decay = weight_decay
        self._power = 1 / averaging if averaging else 0.0
        rows, device = len(table), table.device
        self.state = {
            "second": torch.zeros(rows, device=device),
            "steps": torch.zeros(rows, device=device),
            "log_decay": torch.zeros(rows, dtype=torch.float64, device=device),
            "mean": torch.zeros(rows, dtype=torch.float64, device=device),
            "passed": torch.zeros(3, dtype=torch.float64),
        }

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One step by the table's gradient, which is a coalesced sparse tensor of S rows."""
        grad = self.table.grad
        assert grad is not None
        assert grad.is_coalesced()
        rows, values = grad._indices()[0], grad._values().float()
        self._settle(rows)
        before = self._passed.log_decay
        passed = self._advance(learning_rate)
        second = self.state["second"][rows].mul_(_BETAS[1])
        second += (1 - _BETAS[1]) * values.square().mean(dim=1)
        self.state["second"][rows] = second
        scale = (second / (1 - _BETAS[1] ** passed.steps)).sqrt_().add_(_EPSILON)
        weights = self.table[rows].mul_(math.exp(passed.log_decay - before))
        weights.sub_(values * (learning_rate / scale)[:, None])
        self.table[rows] = weights
        if self.average is not None:
            kept = self._kept(passed.steps - 1, passed.steps)
            self.average[rows] = self.average[rows].lerp_(weights, 1 - kept)
        self._note(rows)

    @torch.no_grad()
    def settle(self) -> None:
        """Apply to every row of table and average the steps in which it had no gradient."""
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
        """The weight of an average over `before` steps in the average over `now` steps."""
        return float((before / now) ** self._power) if now else 1.0

    @property
    def _passed(self) -> _Passed:
        steps, log_decay, mean = self.state["passed"].tolist()
        return _Passed(int(steps), log_decay, mean)

    def _advance(self, learning_rate: float) -> _Passed:
        """Count one more step."""
        before = self._passed
        decay = math.log1p(-min(learning_rate * self._weight_decay, _MAX_DECAY))
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
        """Apply to some rows the steps in which they had no gradient; `_note` must follow.

        Let p be the power of the average, D the factor of weight decay and A the average of D since
        all rows were last settled. If a row w was last visited at step c, its value is now w D /
        D_c, and its average is k x average + w (A - k A_c) / D_c with k = (c / steps)^p.
        """
        passed, state = self._passed, self.state
        if not passed.steps:
            return
        steps = state["steps"][rows]
        state["second"][rows] *= _BETAS[1] ** (passed.steps - steps)
        decay = (passed.log_decay - state["log_decay"][rows]).exp()
        weights = self.table[rows]
        if self.average is not None:
            kept = (steps.double() / passed.steps) ** self._power
            share = passed.mean * decay - kept * state["mean"][rows]
            average = self.average[rows].mul_(kept[:, None].float())
            self.average[rows] = average.add_(weights * share[:, None].float())
        if self._weight_decay:
            self.table[rows] = weights.mul_(decay[:, None].float())

    def _note(self, rows: torch.Tensor) -> None:
        """Record that some rows include all steps so far."""
        passed = self._passed
        self.state["steps"][rows] = passed.steps
        self.state["log_decay"][rows] = passed.log_decay
        self.state["mean"][rows] = passed.mean


class AdamW:
    """torch's fused AdamW, with the same bits, without the rest of `torch.optim.Optimizer`.

    The first step of a `torch.optim.Optimizer` imports torch's compiler, which takes 2 s and 100
    MB.

    Args:
        groups: the parameters and the weight decay of each group.
        tables: the tables with sparse gradients, which are updated row by row.

    Attributes:
        learning_rate: the learning rate of the next step.
        moments: the state of each parameter, then that of each table, in the order of `groups`.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[torch.nn.Parameter], float]],
        tables: Sequence[RowWiseAdamW] = (),
    ) -> None:
        self.learning_rate = 0.0
        self._tables = tables
        self._groups = [([p for p in own if p.requires_grad], decay) for own, decay in groups]
        self._all = [parameter for own, _ in self._groups for parameter in own]
        self.moments: list[Tensors] = [
            {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
            for parameter in self._all
        ] + [each.state for each in tables]

    def zero_grad(self) -> None:
        """Set the gradients to None."""
        for parameter in (*self._all, *(each.table for each in self._tables)):
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step of all parameters that have a gradient."""
        moments = iter(self.moments)
        for parameters, decay in self._groups:
            states = [(p, next(moments)) for p in parameters]
            states = [(p, state) for p, state in states if p.grad is not None]
            steps = [state["step"] for _, state in states]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                [p for p, _ in states],
                [p.grad for p, _ in states if p.grad is not None],
                [state["exp_avg"] for _, state in states],
                [state["exp_avg_sq"] for _, state in states],
                [],
                steps,
                lr=self.learning_rate,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                weight_decay=decay,
                eps=_EPSILON,
                amsgrad=False,
                maximize=False,
            )
        for each in self._tables:
            each.step(self.learning_rate)


class Average:
    """The power-function average of the weights (Karras et al., arXiv 2312.02696).

    It covers the same share of the steps at any step, so the number of steps need not be known.

    Args:
        model: the model whose weights change in place.
        share: about the share of the steps that the average covers; 0 for no average.
        tables: the tables that are updated row by row; each has its own average.
    """

    def __init__(
        self, model: torch.nn.Module, share: float, tables: Sequence[RowWiseAdamW] = ()
    ) -> None:
        self._tables = tables
        of_tables = {id(each.table) for each in tables}
        self._trained = [
            w for w in model.parameters() if w.requires_grad and id(w) not in of_tables
        ]
        self._share = share
        self.weights = [weight.detach().clone() for weight in self._trained] if share else []

    @torch.no_grad()
    def update(self, progress: Progress, *, now: bool = False) -> None:
        """Add the current weights to the average, every few steps, or `now`."""
        if now:
            for each in self._tables:
                each.settle()
        passed = progress.step - progress.averaged_step
        if not self._share or not passed or (passed < _UPDATED_EVERY and not now):
            return
        kept = (1 - passed / progress.step) ** (1 / self._share)
        for average, weight in zip(self.weights, self._trained, strict=True):
            average.lerp_(weight, 1 - kept)
        progress.averaged_step = progress.step

    @contextlib.contextmanager
    def average_parameters(self) -> Iterator[None]:
        """Use the average as the weights of the model within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for number, average in enumerate(self.weights):
            weight = self._trained[number]
            self.weights[number], weight.data = weight.data, average
        for each in self._tables:
            each.swap()

    def saved(self) -> Tensors:
        """The averages by number, those of tables last; the order is that of `AdamW.moments`."""
        averages = [*self.weights, *(t.average for t in self._tables if t.average is not None)]
        return {str(number): average for number, average in enumerate(averages)}


def row_wise_tables(backbone: Backbone, config: TrainingConfig) -> list[RowWiseAdamW]:
    """The optimizers of a backbone's embedding tables, which have sparse gradients from now on."""
    backbone.read_sparsely()
    return [
        RowWiseAdamW(table, config.weight_decay, config.averaging)
        for table in backbone.embedding_tables()
    ]


def optimizer_of(
    backbone: Backbone, config: TrainingConfig, tables: Sequence[RowWiseAdamW] = ()
) -> AdamW:
    """AdamW of all parameters, row-wise for `tables`; norms and biases have no weight decay."""
    by_row = {id(each.table) for each in tables}
    parameters = [p for p in backbone.parameters() if id(p) not in by_row]
    matrices = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return AdamW([(matrices, config.weight_decay), (others, 0.0)], tables)


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> None:
    """Scale the gradients of parameters, sparse ones too, to a norm of at most `max_norm` in all.

    Sparse gradients are coalesced, as `RowWiseAdamW` needs them.
    """
    values = []
    for parameter in parameters:
        grad = parameter.grad
        if grad is not None and grad.is_sparse:
            parameter.grad = grad = coalesced(grad)
            grad = grad._values()
        if grad is not None:
            values.append(grad)
    norm = torch.nn.utils.get_total_norm(values)
    torch._foreach_mul_(values, (max_norm / (norm + 1e-6)).clamp(max=1.0))
