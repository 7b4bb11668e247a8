"""The number of steps of an arm, the steps of its validations, and its learning rate.

By default there is no horizon: after a warm-up the learning rate is constant, the weights are
averaged, and early stopping ends the training. The costs of steps and validations are numbers of
arithmetic operations. No clock is read here, so the same seed gives the same digits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twofold.model.backbone import Backbone
from twofold.model.encoded import EncodedSource
from twofold.records import InputError, Request, Task
from twofold.tasks.requests import JudgedRequests
from twofold.training.arm import Arm
from twofold.training.config import TrainingConfig, require_steps
from twofold.training.mixture import Mixture, mixture_of
from twofold.training.state import Progress

if TYPE_CHECKING:
    from twofold.retrieval.generative import GenerativeRetriever
    from twofold.training.validation import Validation

_FIRST, _GROWTH = 8, 1.15
"""The first step that may be validated, and the factor from each such step to the next; the number
of validations grows with the logarithm of the steps."""
_OF_SAMPLE = 2 / 3
"""The share of the validation budget for the sample; the rest is for the comparison of the last
candidates on all requests."""
LEAST_PATIENCE, PATIENCE_EPOCHS, MOST_LEAST_PATIENCE = 100, 3, 1000
"""The minimum of patience is `PATIENCE_EPOCHS` epochs, but at least `LEAST_PATIENCE` and at most
`MOST_LEAST_PATIENCE` steps. In the first steps, items that are initialised from factors get worse:
with 12,000 items, the value of step 18 was reached again only in the second epoch."""
MATCHED_PATIENCE = 4
"""The patience of a step-matched control, as a multiple of `patience`. In 71 controls, the steps
that it leaves out never led to a better checkpoint; those that a factor of 2 leaves out did in
one."""
CANDIDATES = 3
"""The largest number of checkpoints that are validated on all requests at the end."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs in arithmetic operations; the unit is the time of a multiplication in the layers.

    Attributes:
        step: the mean cost of a training step.
        sample: the cost of a validation on the sample of the requests.
        all: the cost of a validation on all requests.
    """

    step: float
    sample: float
    all: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a training is validated, and when it ends.

    Attributes:
        costs: the costs of steps and validations.
        warmup_steps: the number of steps in which the learning rate rises.
        share: the largest cost of validation, as a share of the steps' costs.
        patience: see `TrainingConfig`; None if all of a given number of steps are taken, and
            without validation requests.
        cap: the largest number of steps; None for no limit.
        cap_by: the setting that the cap comes from.
        max_seconds: the largest number of wall-clock seconds; None for no limit.
        horizon: the number of steps of the cosine decay; None for a constant learning rate.
        least_patience: the smallest number of steps of patience.
    """

    costs: Costs
    warmup_steps: int
    share: float
    patience: float | None
    cap: int | None = None
    cap_by: str = "max_steps"
    max_seconds: float | None = None
    horizon: int | None = None
    least_patience: int = LEAST_PATIENCE

    def factor(self, step: int) -> float:
        """The learning rate of a step, counted from 0, as a share of the peak."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.horizon is None:
            return 1.0
        done = (step - self.warmup_steps) / max(1, self.horizon - self.warmup_steps)
        return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, done)))

    def is_validated(self, progress: Progress) -> bool:
        """Whether the present step is followed by a validation."""
        if progress.step == self.cap:
            return True
        spent = (len(progress.curve) + 1) * self.costs.sample
        may_spend = _OF_SAMPLE * self.share * progress.step * self.costs.step
        return is_on_grid(progress.step) and spent <= may_spend

    def is_late(self, progress: Progress) -> bool:
        """Whether `max_seconds` have passed."""
        return self.max_seconds is not None and progress.seconds >= self.max_seconds

    def end(self, progress: Progress) -> str:
        """What ends the training at this validation; empty if it continues."""
        if progress.step == self.cap:
            return self.cap_by
        if self.patience is not None and progress.step >= self.patient_until(progress):
            return "patience"
        return "max_time" if self.is_late(progress) else ""

    def patient_until(self, progress: Progress) -> int:
        """The step at which patience ends the training, unless a validation of any task improves.

        All tasks count, since a joint model may learn one task long before the other.
        """
        assert self.patience is not None
        return math.ceil((1 + self.patience) * progress.last_best_step) + self.least_patience

    def candidates(self, progress: Progress) -> int:
        """The number of checkpoints to compare on all requests at the end; 0 if a comparison of two
        would be too expensive.
        """
        may_spend = self.share * progress.step * self.costs.step
        may_still_spend = may_spend - len(progress.curve) * self.costs.sample
        most = min(CANDIDATES, int(may_still_spend / max(self.costs.all, 1e-9)))
        return most if most > 1 else 0

    def spent_share(self, progress: Progress) -> float:
        """The share of validation in all costs so far."""
        on_all = sum(any("on_all" in key for key in point) for point in progress.curve)
        spent = len(progress.curve) * self.costs.sample + on_all * self.costs.all
        return spent / max(spent + progress.step * self.costs.step, 1e-9)


def is_on_grid(step: int) -> bool:
    """Whether a validation may follow this step; these steps are the same for every arm."""
    if step < _FIRST:
        return False
    nearest = round(math.log(step / _FIRST, _GROWTH))
    return any(int(_FIRST * _GROWTH**n) == step for n in (nearest - 1, nearest, nearest + 1))


def schedule_of(
    encoded: Mapping[Task, EncodedSource],
    mixture: Mixture,
    arm: Arm,
    config: TrainingConfig,
    costs: Costs,
    steps: int | None = None,
) -> Schedule:
    """The schedule of an arm.

    Args:
        encoded: the unchanged examples of every task of the dataset.
        mixture: the batches of the arm.
        arm: the arm that is trained.
        config: the resolved configuration.
        costs: the costs of the arm's steps and validations.
        steps: the number of steps, such as that of `joint`; by default early stopping decides. A
            step-matched control takes fewer if its best validation is long ago.

    Raises:
        InputError: `steps` is not a positive whole number, or a cosine schedule has no number of
            steps.
    """
    require_steps(steps)
    caps = {"max_steps": config.max_steps}
    if config.epochs:
        caps["epochs"] = max(1, round(config.epochs * mixture.batches_per_epoch))
    if not costs.sample and not any(caps.values()):
        caps["epochs"] = _BLIND_EPOCHS * mixture.batches_per_epoch
    limits = {name: cap for name, cap in caps.items() if cap}
    cap_by = min(limits, key=limits.__getitem__, default="max_steps")
    cap = limits.get(cap_by)
    horizon = None
    if config.lr_schedule == "cosine":
        horizon = cap = steps or _horizon(encoded, arm, config, cap)
    return Schedule(
        costs=costs,
        warmup_steps=config.warmup_steps,
        share=config.validation_share,
        patience=_patience(arm, config, steps) if costs.sample else None,
        cap=steps or cap,
        cap_by="steps" if steps else cap_by,
        max_seconds=config.max_time * 60 if config.max_time else None,
        horizon=horizon,
        least_patience=_least_patience(mixture.batches_per_epoch),
    )


def _patience(arm: Arm, config: TrainingConfig, steps: int | None) -> float | None:
    """The patience of an arm; None if it takes all of the given steps."""
    if steps is None:
        return config.patience
    # An arm with an intervention takes the steps of joint: nothing else may differ. The learning
    # rate of a cosine schedule is too high to judge before its last step.
    is_control = arm.step_matched and len(arm.tasks) == 1
    ends_early = is_control and config.lr_schedule != "cosine"
    return MATCHED_PATIENCE * config.patience if ends_early else None


def _least_patience(batches_per_epoch: int) -> int:
    return max(LEAST_PATIENCE, min(MOST_LEAST_PATIENCE, PATIENCE_EPOCHS * batches_per_epoch))


_BLIND_EPOCHS = 10
"""The number of epochs of a training that has neither a cap nor validation requests."""


def _horizon(
    encoded: Mapping[Task, EncodedSource],
    arm: Arm,
    config: TrainingConfig,
    cap: int | None,
) -> int:
    """The steps of a cosine schedule: the arm has as many epochs of its own data as `joint` has of
    all data.
    """
    if cap is None:
        raise InputError(
            "lr_schedule=cosine needs a number of steps: give --set max_steps=N or --set epochs=N"
        )
    if config.epochs or arm.step_matched:
        return cap
    everything = mixture_of(encoded, tuple(encoded), config, seed=0)
    batches = dict(zip(everything.names, everything.batches_by_source, strict=True))
    share = sum(batches[task] for task in arm.tasks) / everything.batches_per_epoch
    return max(1, round(share * cap))


_OF_TOKEN, _OF_SCORE, _OF_REQUEST, _OF_PARAMETER, _OF_STEP = 250_000, 250, 3e6, 100, 240e6
"""Costs as measured on a CPU, in multiplications of the layers, which take 25 ps each: for each
token outside of the matrix products (norms, attention), of ranking for each score and for each
request, of the optimizer for each parameter, and the smallest cost of a training step."""
_OF_LOSS = 0.75
"""The time of a multiplication in the loss, relative to one in the layers."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that costs depend on.

    Attributes:
        layers: the number of parameters that every token passes through.
        parameters: the number of parameters that every step changes.
        width: the width of a hidden state.
        codes: the number of codes against which a hidden state is scored.
    """

    layers: int
    parameters: int
    width: int
    codes: int

    @classmethod
    def of(cls, backbone: Backbone, codes: int) -> "Sizes":
        """The sizes of a backbone whose hidden states are scored against `codes` codes."""
        model = backbone.model
        count = sum(weights.numel() for weights in backbone.parameters())
        tables = {model.get_input_embeddings().weight, model.get_output_embeddings().weight}
        layers = count - sum(table.numel() for table in tables)
        return cls(layers, count, model.get_output_embeddings().weight.shape[1], codes)

    def of_step(self, tokens: float, states: float) -> float:
        """The cost of a training step with these numbers of tokens and of contexts."""
        forward = tokens * (self.layers + _OF_TOKEN) + _OF_LOSS * states * self.codes * self.width
        return 3 * forward + _OF_PARAMETER * self.parameters + _OF_STEP

    def of_retrieval(self, tokens: float, requests: int, hypotheses: int) -> float:
        """The cost of retrieval.

        Args:
            tokens: the number of tokens of all requests.
            requests: the number of requests.
            hypotheses: the hypotheses of a request's beam search, over all levels; 0 for atomic
                identifiers.
        """
        read = (tokens + requests * hypotheses) * (self.layers + _OF_TOKEN)
        scores = requests * max(1, hypotheses) * self.codes
        return read + scores * (self.width + _OF_SCORE) + requests * _OF_REQUEST


def costs_of(
    mixture: Mixture,
    sources: Sequence[EncodedSource],
    backbone: Backbone,
    config: TrainingConfig,
    validation: "Validation | None",
) -> Costs:
    """The costs of the mean training step of a mixture and of a validation, 0 without one."""
    tokens = states = 0
    for source, repeats in zip(sources, mixture.repeats, strict=True):
        tokens += repeats * int(source.token_counts.sum())
        states += repeats * source.context_count
    sizes = Sizes.of(backbone, backbone.code_slice.stop - backbone.code_slice.start)
    if sizes.codes > config.full_softmax_max_codes:
        sizes = replace(sizes, parameters=sizes.layers, codes=config.num_negatives)
    steps = mixture.batches_per_epoch
    step = sizes.of_step(tokens / steps, states / steps)
    return Costs(step, validation.sample_cost, validation.cost) if validation else Costs(step, 0, 0)


_STANDARD = Sizes(layers=400_000, parameters=2_000_000, width=128, codes=0)
_STANDARD_TOKENS, _STANDARD_EXAMPLES, _STANDARD_HISTORY = 1024, 128, 200
"""The standard model and its batches. The number of validation requests is computed for these, so
it depends only on the data, and all arms and recipes are compared on the same requests."""


def requests_per_step(requests: Sequence[Request], items: int) -> float:
    """The number of requests that cost as much as a training step of the standard model.

    Args:
        requests: requests over a catalog with atomic identifiers, at least one.
        items: the size of the catalog.
    """
    read = sum(min(len(each.history), _STANDARD_HISTORY) for each in requests)
    tokens = 2 + read / len(requests)
    in_batch = tokens * min(_STANDARD_EXAMPLES, _STANDARD_TOKENS / tokens)
    sizes = replace(_STANDARD, codes=items)
    return sizes.of_step(in_batch, in_batch) / sizes.of_retrieval(tokens, 1, 0)


def retrieval_cost(retriever: "GenerativeRetriever", judged: JudgedRequests) -> float:
    """The cost of retrieving items for the requests, in the unit of `Costs`."""
    model, requests = retriever.model, judged.requests
    codebooks = model.vocabulary.spaces.of(judged.task).codebook_sizes
    levels, hypotheses = len(codebooks), len(codebooks) * retriever.beams if model.tries else 0
    read = [min(len(request.history), model.vocabulary.max_history) for request in requests]
    tokens = levels * sum(read) + 2 * len(requests)
    return Sizes.of(model.backbone, max(codebooks)).of_retrieval(tokens, len(requests), hypotheses)
