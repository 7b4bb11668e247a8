"""Search by kind of query: a study's arms beside its baselines, with paired intervals.

    python benchmarks/query_kinds.py STUDY DATASET --json out.json

Recall@30 on test queries, full catalog. An interval of joint - baseline counts the choice of
queries and, from three seeds on, of seeds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twofold.evaluation.significance import difference, mean
from twofold.records import Floats
from twofold.studies.arms import ARMS
from twofold.tasks.prepare import load_dataset


def scores(folder: Path, kinds: pl.DataFrame, kind: str) -> Floats:
    """Recall@30 of one evaluation on the queries of one kind, shape (R,)."""
    rows = pl.read_parquet(folder / "per_request.parquet")
    chosen = rows.filter((pl.col("task") == "search") & (pl.col("measure") == "Recall@30"))
    joined = chosen.join(kinds, on="request_id", how="left", maintain_order="left")
    return joined.filter(pl.col("kind") == kind)["value"].to_numpy()


def table(study: Path, dataset: str) -> list[dict[str, Any]]:
    """One row for each kind and system."""
    kinds = load_dataset(dataset).queries.select(request_id="query_id", kind="kind")
    places = study / "evaluations"
    systems = {
        a.name: sorted((places / a.name).glob("seed-*")) for a in ARMS if "search" in a.tasks
    }
    arms = set(systems)
    systems |= {p.name: [p] for p in sorted((places / "baselines" / "search").iterdir())}
    rows: list[dict[str, Any]] = []
    for kind in kinds["kind"].drop_nulls().unique().sort():
        found = {n: np.stack([scores(p, kinds, kind) for p in ps]) for n, ps in systems.items()}
        units = np.arange(found["joint"].shape[1])
        for name, values in found.items():
            own, paired = (
                mean(values, units),
                difference(found["joint"], values, units, fixed=name not in arms),
            )
            rows.append(
                {
                    "kind": kind,
                    "queries": len(units),
                    "system": name,
                    "seeds": len(values),
                    "Recall@30": own.value,
                    "interval": own.interval(),
                    "joint_minus": paired.value,
                    "joint_minus_interval": paired.interval(),
                }
            )
    return rows


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=Path, help="a finished study whose queries have kinds")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("dataset", help="what it was made from: prepared folder or source")
    arguments = parser.parse_args()
    rows = table(arguments.study, arguments.dataset)
    for row in rows:
        low, high = row["interval"]
        below, above = row["joint_minus_interval"]
        print(
            f"{row['kind']:10} {row['queries']:5} {row['system']:24} {row['Recall@30']:.4f} "
            f"[{low:.4f}, {high:.4f}]   joint - it {row['joint_minus']:+.4f} "
            f"[{below:+.4f}, {above:+.4f}]"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
