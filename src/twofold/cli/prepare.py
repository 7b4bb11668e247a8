"""`twofold prepare`."""

from twofold.cli.options import Cutoff, DatasetArgument, Json, Out, SkipUnknown, Split, SplitName


def prepare(
    source: DatasetArgument,
    out: Out,
    split: Split = SplitName.last,
    cutoff: Cutoff = None,
    skip_unknown: SkipUnknown = False,
    json: Json = False,
) -> None:
    """Validate and split a dataset, and write it as Parquet with a data report."""
    from twofold import artifact
    from twofold.encoders.start_report import report_starts
    from twofold.studies.forecast.forecast import report_forecast
    from twofold.tasks.storage import load_dataset, save_dataset

    artifact.require_absent(out)
    with artifact.claim(out):
        dataset = load_dataset(source, split.value, cutoff, skip_unknown)
        forecast = report_forecast(dataset)
        more = {"forecast": {"lines": forecast.lines, **forecast.model_dump()}} if forecast else {}
        save_dataset(dataset, out, {"starts": report_starts(dataset), **more})
    name = "data_report.json" if json else "data_report.md"
    print((out / name).read_text(encoding="utf-8"), end="")
