"""A note: what was not taken as it stands in a file, how often, where, and what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """Rows that were left out, or anything else that is not as it stands in the file.

    Attributes:
        count: how many.
        place: where the first one stands.
        problem: what is the matter with it.
        remedy: what to do.
        unit: what is counted: rows, unless said otherwise.
        effect: what was done with them.
    """

    count: int
    place: str
    problem: str
    remedy: str
    unit: str = "row"
    effect: str = "left out"

    def __str__(self) -> str:
        plural = f"{self.unit.removesuffix('y')}ies" if self.unit.endswith("y") else f"{self.unit}s"
        counted = f"{self.count} {self.unit if self.count == 1 else plural} {self.effect}"
        return f"{self.place}: {self.problem} ({counted}); {self.remedy}"

    @property
    def rows_left_out(self) -> int:
        """How many rows of the file are missing from the table for this reason."""
        return self.count if self.unit == "row" and self.effect == "left out" else 0
