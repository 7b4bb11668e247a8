"""The interim looks of a study: after which numbers of seeds, and when it ends."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from twofold.evaluation.sequential import LOOKS, looks_until, planned_looks
from twofold.records import InputError, Task
from twofold.studies.verdict import TaskVerdict, is_final
from twofold.training.progress import in_words

_WORTH_TELLING = 2.0
"""In seconds; a seed that takes less had been trained before."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Looks:
    """The progress of a study through its looks.

    Attributes:
        seeds: the number of trained models of each arm at this look.
        taken: the number of seeds at every look so far, including this one.
        planned: the number of seeds at every planned look; None if a single look is planned.
        most: the largest number of seeds of the study.
    """

    seeds: int
    taken: Sequence[int]
    planned: Sequence[int] | None
    most: int

    def log_plan(self) -> None:
        """Log the planned looks, before the first one of several."""
        if self.planned and len(self.planned) > 1 and len(self.taken) == 1:
            *others, last = self.planned
            others_named = ", ".join(map(str, others))
            _log.info("interim looks are planned after %s and %d seeds", others_named, last)

    def log_cost(self, seconds: float, outlooks: Iterable[str] = ()) -> None:
        """Log the expected cost of all seeds and the expected power, after the first seed.

        Args:
            seconds: the duration of the first seed; nothing is logged if it was trained before.
            outlooks: sentences about the power, computed only if they are logged.
        """
        if seconds < _WORTH_TELLING or self.most == 1:
            return
        told = f"{self.seeds} seeds take about {in_words(self.seeds * seconds)}"
        if self.most > self.seeds:
            told += f", {self.most} about {in_words(self.most * seconds)}"
        _log.info("one seed took %s: %s", in_words(seconds), told)
        for outlook in filter(None, outlooks):
            _log.info("%s", outlook)


def looks_end(
    seeds: int, max_seeds: int | None, taken: Sequence[int], before: int | None
) -> int | None:
    """The number of seeds at which the error of all looks is spent; None if one look may spend all
    of it.

    The plan is kept once a look was taken. The levels of that look depend on the plan's end: a
    later end would spend a part of the error twice, and an earlier end could be chosen after seeing
    the look's result.

    Args:
        seeds: the number of seeds, if it is fixed.
        max_seeds: the largest number of seeds of a study with looks; None for a fixed number.
        taken: the looks of an earlier run, ascending.
        before: the end of that run's plan; None if it had none.

    Raises:
        InputError: there are more seeds than the plan has.
    """
    end = before if taken else None
    if end is None and len(taken) > 1:
        end = planned_looks(taken)[-1]
    if end is None:
        so_far = sorted({*taken, seeds})
        return max_seeds or (planned_looks(so_far)[-1] if len(so_far) > 1 else None)
    if (requested := max_seeds or seeds) > end:
        raise InputError(
            f"--{'max-' if max_seeds else ''}seeds {requested}: the interim looks of this study "
            f"were planned for {end} seeds at most, and no error is left to spend after that; give "
            f"at most {end}, or begin a study in another folder"
        )
    return end


def looks_at(
    seeds: int, max_seeds: int | None, taken: Sequence[int], end: int | None
) -> Iterator[Looks]:
    """The looks of a study, to be taken until every verdict is final.

    The last look of an earlier run is taken again. Looks before it are not repeated, since their
    levels depended on the looks that were then planned.

    Args:
        seeds, max_seeds, taken: see `looks_end`.
        end: the result of `looks_end`.
    """
    if max_seeds is None or end is None:
        so_far = [*(look for look in taken if look < seeds), seeds]
        rest = () if end is None else (*(look for look in LOOKS if seeds < look < end), end)
        yield Looks(seeds, so_far, sorted({*so_far, *rest}) if rest else None, seeds)
        return
    last_taken = taken[-1] if taken else 0
    most = max(max_seeds, last_taken)
    planned = sorted({*looks_until(end, taken), most})
    for number, look in enumerate(planned):
        if last_taken <= look <= most:
            yield Looks(look, planned[: number + 1], planned, most)


def are_final(answers: Sequence[Mapping[Task, TaskVerdict]], looks: Looks) -> bool:
    """Whether a study ends at this look; the number of open verdicts is logged.

    Args:
        answers: the verdicts on each question, by task.
        looks: the progress of the study.
    """
    verdicts = [verdict for answer in answers for verdict in answer.values()]
    still_open = sum(not is_final(verdict) for verdict in verdicts)
    hopeless = sum(verdict.verdict == "not enough data" for verdict in verdicts) - still_open
    if looks.seeds < looks.most:
        named = f"{still_open} of {len(verdicts)} verdicts are" if still_open else "no verdict is"
        state = f"{named} open"
        if hopeless:
            state += f"; {hopeless} of {len(verdicts)} cannot be decided by more seeds"
        _log.info("after %d seeds %s", looks.seeds, state)
    return not still_open
