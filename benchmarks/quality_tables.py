"""Tables of test measures from a folder of `quality.py` or of a study.

A group is the requests of one task or kind of query. Its table has a row a system: the means over
requests and seeds, a 95 % interval of the primary measure, and the paired difference of the
reference (joint, or the single arm) and the system.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pages import Cell, Column, Scored, Table

from twofold import artifact
from twofold.evaluation.measures import PRIMARY, Measure
from twofold.evaluation.significance import difference, mean
from twofold.records import Floats
from twofold.studies.folder import StudyFolder
from twofold.tasks.storage import load_dataset
from twofold.training.arm import NAMED_ARMS

MEASURES = (PRIMARY, Measure("Recall", 10), Measure("nDCG", 10))


@dataclass(frozen=True, slots=True)
class Published:
    """A figure that others report of recommendation: leave-last-out, full catalog.

    Attributes:
        given_time: the model is given the time of the event that is asked for, which no model
            here is; the scoreboard leaves such figures out.
        seen: whether seen items were filtered or left in.
    """

    system: str
    recall_10: float
    ndcg_10: float
    source: str
    given_time: bool = False
    seen: Literal["filtered", "left in"] = "filtered"


SEEN_LEFT_IN = "recommendation, seen items left in"
"""The group of the requests of recommendation where a user's items may come back."""

PUBLISHED = {
    "ml-1m-joint": [
        Published("SASRec, BCE", 0.2500, 0.1341, "Klenitskiy and Vasilev 2023; seen filtered"),
        Published(
            *("SASRec, cross-entropy", 0.3152, 0.1821),
            "Klenitskiy and Vasilev 2023; seen filtered",
        ),
        Published(
            *("WEARec, 200 events", 0.3334, 0.1904),
            "reported by its authors (AAAI 2026), not repeated here; no time; seen filtered",
        ),
        Published(
            *("HSTU-large", 0.3294, 0.1893),
            "Zhai et al. 2024; reads the time of the target event; filter not stated",
            given_time=True,
        ),
        Published(
            *("HSTU in RecTools", 0.3642, 0.2164),
            "RecTools' tutorial; reads the time of the target event (its own ablation: "
            ".3205 with, .3023 without); seen filtered; 3,706 items",
            given_time=True,
        ),
    ],
    "beauty": [
        Published("TIGER", 0.0648, 0.0384, "Rajput et al. 2023; filter not stated"),
        Published(
            *("SASRec, sampled softmax", 0.0921, 0.0531), "transformer_benchmark; seen filtered"
        ),
        Published(
            *("BSARec", 0.1008, 0.0611),
            "a log of its authors (AAAI 2024), not repeated here; seen filtered",
        ),
        Published(
            *("WEARec", 0.1016, 0.0599),
            "a run of its code by others, not repeated here; seen filtered",
        ),
        Published(
            *("TASTE", 0.1030, 0.0517),
            "reported by its authors (CIKM 2023), not repeated here; T5 over item texts",
            seen="left in",
        ),
    ],
}


@dataclass(frozen=True, slots=True)
class Group:
    """The test requests of one task or kind of query, and what every system scored on them.

    Attributes:
        scores: by system, then measure, (seeds, requests).
    """

    name: str
    requests: int
    scores: Mapping[str, Mapping[str, Floats]]

    @property
    def reference(self) -> str:
        """The arm that the others are compared with."""
        return next(arm for arm in ("joint", *NAMED_ARMS) if arm in self.scores)


def seen_kept(folder: StudyFolder) -> StudyFolder:
    """The folder of the evaluations in which a user's items may come back."""
    return StudyFolder(folder.path / "seen-left-in")


def read_groups(folder: Path) -> Iterator[Group]:
    """Recommendation, with seen items filtered and left in, and search by kind of query; without
    the requests that no arm was scored on."""
    yield from _groups(folder, StudyFolder(folder))
    for group in _groups(folder, seen_kept(StudyFolder(folder))):
        yield dataclasses.replace(group, name=SEEN_LEFT_IN)


def _groups(folder: Path, evaluated: StudyFolder) -> Iterator[Group]:
    dataset = load_dataset(str(folder / "dataset"))
    kinds = dataset.queries.select(request_id="query_id", kind=pl.col("kind").fill_null("query"))
    frames = {
        system: [_read_scores(place, kinds) for place in places]
        for system, places in _evaluations(evaluated)
    }
    names = {kind for seeds in frames.values() for kind in seeds[0]["kind"].unique()}
    for name in sorted(names):
        scores = {
            system: {str(m): np.stack([_values(seed, name, m) for seed in seeds]) for m in MEASURES}
            for system, seeds in frames.items()
            if name in seeds[0]["kind"].unique()
        }
        if NAMED_ARMS.keys() & scores.keys():
            yield Group(name, next(iter(scores.values()))[str(PRIMARY)].shape[1], scores)


def _evaluations(study: StudyFolder) -> Iterator[tuple[str, list[Path]]]:
    """Each system with the folders of its evaluations, one a seed."""
    for arm in NAMED_ARMS:
        if seeds := study.evaluations(arm):
            yield arm, seeds
    for _, place in study.baselines():
        stamp = artifact.read_json(place / artifact.MANIFEST)["config"]["stamp"]
        yield stamp["retriever"], [place]


def _read_scores(place: Path, kinds: pl.DataFrame) -> pl.DataFrame:
    scores = pl.read_parquet(place / "per_request.parquet")
    joined = scores.join(kinds, on="request_id", how="left", maintain_order="left")
    is_search = pl.col("task") == "search"
    return joined.with_columns(pl.when(is_search).then("kind").otherwise("task").alias("kind"))


def _values(scores: pl.DataFrame, kind: str, measure: Measure) -> Floats:
    chosen = (pl.col("kind") == kind) & (pl.col("measure") == str(measure))
    return scores.filter(chosen)["value"].to_numpy()


def pool_groups(parts: Sequence[Group]) -> Group:
    """The requests of several datasets as one group; systems and seeds that all have."""
    systems = [name for name in parts[0].scores if all(name in part.scores for part in parts)]
    scores = {}
    for name in systems:
        seeds = min(len(part.scores[name][str(PRIMARY)]) for part in parts)
        scores[name] = {
            str(m): np.hstack([part.scores[name][str(m)][:seeds] for part in parts])
            for m in MEASURES
        }
    return Group(f"{parts[0].name}, pooled", sum(part.requests for part in parts), scores)


def system_rows(group: Group) -> list[dict[str, Cell]]:
    """One row a system, the best first."""
    units = np.arange(group.requests)
    own = group.scores[group.reference][str(PRIMARY)]
    rows: list[dict[str, Cell]] = []
    for system, scores in group.scores.items():
        primary = scores[str(PRIMARY)]
        row: dict[str, Cell] = {
            "kind": "ours" if system in NAMED_ARMS else "baseline",
            "system": system,
            "seeds": len(primary),
            **{_key(m): float(scores[str(m)].mean()) for m in MEASURES},
            "interval": list(mean(primary, units).interval()),
        }
        if system != group.reference:
            paired = difference(own, primary, units, fixed=system not in NAMED_ARMS)
            row["difference"] = [paired.value, *paired.interval()]
        rows.append(row)
    return sorted(rows, key=lambda row: -float(str(row[_key(PRIMARY)])))


def _key(measure: Measure) -> str:
    return str(measure).lower().replace("@", "_")


def group_table(group: Group, dataset: str) -> Table:
    """The table of a group, with what others report where the group is recommendation."""
    recommends = group.name in ("recommendation", SEEN_LEFT_IN)
    seen = "left in" if group.name == SEEN_LEFT_IN else "filtered"
    published = [figure for figure in PUBLISHED.get(dataset, []) if figure.seen == seen]
    published = published if recommends else []
    columns = [
        Column(key="system", title=""),
        Column(key="seeds", title="seeds"),
        *(Column(key=_key(m), title=str(m), format=".4f") for m in MEASURES),
        Column(key="interval", title=f"95 % of {PRIMARY}", format=".4f"),
        Column(key="difference", title=f"{group.reference} - it", format="+.4f"),
    ]
    if published:
        columns.append(Column(key="source", title="source"))
    return Table(
        title=f"{group.name.capitalize()}, {group.requests:,} test requests",
        columns=columns,
        rows=[*system_rows(group), *map(_published_row, published)],
        scoreboard=None
        if seen == "left in"
        else Scored(
            dataset=dataset,
            task="recommendation" if recommends else "search",
            requests="last event" if recommends else _plural(group.name),
            measure="Recall@10" if recommends else str(PRIMARY),
        ),
    )


def _published_row(figure: Published) -> dict[str, Cell]:
    return {
        "kind": "published, given the time" if figure.given_time else "published",
        "system": figure.system,
        "recall_10": figure.recall_10,
        "ndcg_10": figure.ndcg_10,
        "source": figure.source,
    }


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
