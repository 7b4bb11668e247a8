"""`simulate:NAME`: datasets drawn from a known distribution, as ordinary tables.

Every world is a function of its parameters, written `simulate:NAME` or
`simulate:NAME:key=value,key=value`. The worlds after Penha et al. (RecSys 2024) are reconstructions
from the paper's description, as its code is not published.

- `catalog`: a small film catalog with readable titles.
- `popularity` (H1): popularity is the only signal, and the popularity distribution of the other
  task's training targets has a divergence of `kl` nats from the test distribution.
- `latent-search-helps` and `latent-recommendation-helps` (H2): every item is equally popular, and
  one task's training data have only a part of the pairs in each group of items. The test targets
  are the rest, which the other task's data reveal with probability `rho`.
- `mixed`: overlap, divergence, agreement, sizes and text vary; the forecast is fitted on them.
- `taste`: one query has different relevant items for different users.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twofold.data.formats import Table
from twofold.data.simulators.catalog import catalog
from twofold.data.simulators.latent import latent_recommendation_helps, latent_search_helps
from twofold.data.simulators.mixed import mixed
from twofold.data.simulators.popularity import popularity
from twofold.data.simulators.taste import taste
from twofold.data.simulators.world import Frames
from twofold.records import InputError

SIMULATORS: dict[str, Callable[..., Frames]] = {
    "catalog": catalog,
    "popularity": popularity,
    "latent-search-helps": latent_search_helps,
    "latent-recommendation-helps": latent_recommendation_helps,
    "mixed": mixed,
    "taste": taste,
}


def tables(text: str) -> dict[str, list[Table]]:
    """The tables of `NAME` or `NAME:key=value,...`.

    Raises:
        InputError: no such simulator or parameter, or an invalid value.
    """
    name, _, given = text.partition(":")
    if name not in SIMULATORS:
        known = ", ".join(SIMULATORS)
        raise InputError(f"simulate:{name}: no such simulator; choose one of {known}")
    frames = SIMULATORS[name](**_parameters(name, given))
    folder = Path(f"simulate:{text}")
    return {table: [Table(folder / f"{table}.csv", rows)] for table, rows in frames.items()}


def _parameters(name: str, given: str) -> dict[str, Any]:
    """The parameters, converted to the types of the simulator's defaults."""
    defaults = {p.name: p.default for p in inspect.signature(SIMULATORS[name]).parameters.values()}
    values: dict[str, Any] = {}
    for part in filter(None, given.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults:
            known = ", ".join(defaults)
            raise InputError(f"simulate:{name}: no parameter '{key}'; choose one of {known}")
        try:
            values[key] = type(defaults[key])(value)
        except ValueError as error:
            raise InputError(f"simulate:{name}: {key}='{value}' is not a number") from error
        least = 0 if key == "seed" else 1
        if isinstance(values[key], int) and values[key] < least:
            raise InputError(f"simulate:{name}: {key}={values[key]}: must be at least {least}")
    return values
