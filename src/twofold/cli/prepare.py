"""`twofold prepare`."""

from datetime import UTC, datetime

from twofold.cli.options import Cutoff, DatasetArgument, Json, Out, Split, SplitName
from twofold.records import InputError


def prepare(
    source: DatasetArgument,
    out: Out,
    split: Split = SplitName.last,
    cutoff: Cutoff = None,
    json: Json = False,
) -> None:
    """Validate and split a dataset, and write it as Parquet with a data report."""
    from twofold import artifact
    from twofold.tasks.storage import load_dataset, save_dataset

    artifact.require_absent(out)
    dataset = load_dataset(source, split.value, parse_time(cutoff))
    save_dataset(dataset, out)
    name = "data_report.json" if json else "data_report.md"
    print((out / name).read_text(encoding="utf-8"), end="")


def parse_time(text: str | None) -> float | None:
    """A cutoff as a number, or as the seconds since 1970 of an ISO time."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"--cutoff '{text}': neither a number nor an ISO time such as 2024-05-01T12:00:00"
        ) from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
