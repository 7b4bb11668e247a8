"""The baselines of a study, each tuned on validation over a fixed grid of settings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from twofold import artifact
from twofold.baselines.bm25 import BM25, FIELDS, Field
from twofold.baselines.dense import BiEncoder, FrozenEncoder, HistoryMean
from twofold.baselines.documents import Documents
from twofold.baselines.item_knn import ItemKNN
from twofold.baselines.personal_frequency import PersonalFrequency
from twofold.baselines.popularity import Popularity
from twofold.baselines.sasrec import sasrec
from twofold.encoders.lexical import can_have_ngrams
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.text_encoder import resolve_encoder
from twofold.encoders.tuning import KIND, TuningConfig, tune_encoder
from twofold.encoders.vectors import TextEncoder
from twofold.model.backbone import resolve_device
from twofold.records import Retriever, Task
from twofold.tasks.evaluate import evaluate
from twofold.tasks.prepared import PreparedDataset
from twofold.training.config import SELECTION, TrainingConfig, sentence_part

_K1_AND_B = [{"k1": k1, "b": b} for k1, b in product((0.9, 1.5, 2.5), (0.4, 0.75))]
_NEIGHBOURS_AND_SHRINKAGE = tuple(product((20, 50, 100, 300), (0.0, 10.0, 50.0)))
_LAST = (1, 5, 20, None)
_DECAYS = (1.0, 0.99, 0.95, 0.8)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A baseline with the settings that validation chose.

    Attributes:
        retriever: the best of the candidates.
        settings: the best settings.
        candidates: the number of settings that were tried on validation; 1 if there is nothing to
            tune.
    """

    retriever: Retriever
    settings: Mapping[str, Any] = field(default_factory=dict)
    candidates: int = 1


@dataclass(frozen=True, slots=True)
class Baseline:
    """A named baseline; `make` may take long.

    Attributes:
        slow: whether `make` trains, or encodes with a sentence encoder.

    Raises:
        InputError: raised by `make` if the dataset lacks data that the baseline needs, such as
            text.
    """

    task: Task
    name: str
    make: Callable[[], Chosen]
    slow: bool = False


def quick_baselines(
    dataset: PreparedDataset, config: TrainingConfig | None = None
) -> Iterator[Baseline]:
    """The baselines that take seconds: popularity, BM25, item-kNN, a frozen encoder and personal
    frequency, where items repeat.

    They have their default settings, but validation decides whether BM25 has n-grams, as
    cross-validation does for the lexical match of an arm.

    Args:
        dataset: the dataset on which they are fitted.
        config: names the sentence encoder; without one the encoder is TF-IDF.
    """
    for task in dataset.tasks:
        yield Baseline(task, f"popularity {task}", partial(_untuned, Popularity, dataset, task))
    if "search" in dataset.tasks:
        for texts in FIELDS:
            yield Baseline("search", f"BM25 {texts}", partial(_bm25, dataset, texts, [{}]))
    if _items_repeat(dataset):
        frequency = partial(_untuned, PersonalFrequency, dataset)
        yield Baseline("recommendation", PersonalFrequency.name, frequency)
    if "recommendation" in dataset.tasks:
        yield Baseline("recommendation", ItemKNN.name, partial(_untuned, ItemKNN, dataset))
    yield from _frozen_encoders(dataset, config)


FROZEN = "frozen encoder"
"""The name under which a dataset caches the encoder that the baselines of both tasks share."""


def _frozen_encoders(dataset: PreparedDataset, config: TrainingConfig | None) -> Iterator[Baseline]:
    for task in dataset.tasks:
        slow = bool(config and sentence_part(config))
        yield Baseline(task, f"frozen encoder {task}", partial(_frozen, dataset, config), slow)


def _frozen(dataset: PreparedDataset, config: TrainingConfig | None) -> Chosen:
    """Both tasks by an encoder that was fitted on item texts, not on the data of either task."""
    name = (sentence_part(config) if config else None) or "tfidf"
    encoder = dataset.cached(
        (FROZEN, name), lambda: resolve_encoder(name, dataset.catalog.texts, ())
    )
    assert encoder is not None, "only auto and none give none"
    return Chosen(FrozenEncoder(dataset, encoder))


def every_baseline(
    dataset: PreparedDataset,
    folder: Path,
    config: TrainingConfig,
    device: str = "auto",
    threads: int | None = None,
    tune: int = 0,
) -> Iterator[Baseline]:
    """All baselines, tuned.

    Args:
        dataset: its training examples fit the baselines, its validation requests tune them.
        folder: the folder for the weights of trained baselines.
        config: the configuration of the arms; SASRec takes its width, length and steps.
        device, threads: as in `twofold.train`.
        tune: the number of recipes for SASRec, as for the arms.
    """
    for task in dataset.tasks:
        yield Baseline(task, f"popularity {task}", partial(_untuned, Popularity, dataset, task))
    slow = bool(sentence_part(config))
    if "search" in dataset.tasks:
        for texts in FIELDS:
            yield Baseline("search", f"BM25 {texts}", partial(_bm25, dataset, texts, _K1_AND_B))
        plain = "bi-encoder (untuned)" if slow else "TF-IDF and SVD"
        yield Baseline("search", plain, partial(_bi_encoder, dataset, config, plain), slow)
        yield documents_baseline(dataset, config)
        if slow:
            tuned = partial(_tuned, dataset, config, folder, device)
            yield Baseline("search", "bi-encoder", tuned, slow)
    if _items_repeat(dataset):
        frequency = partial(_personal_frequency, dataset)
        yield Baseline("recommendation", PersonalFrequency.name, frequency)
    if "recommendation" in dataset.tasks:
        yield Baseline("recommendation", "item-kNN", partial(_item_knn, dataset))
        mean = partial(_history_mean, dataset, config)
        yield Baseline("recommendation", "history mean", mean, slow)
        neural = partial(_sasrec, dataset, folder / "sasrec", config, device, threads, tune)
        yield Baseline("recommendation", "SASRec", neural, slow=True)
    yield from _frozen_encoders(dataset, config)


def documents_baseline(dataset: PreparedDataset, config: TrainingConfig) -> Baseline:
    """The hybrid part alone, which a generative model with a hybrid part must improve on."""
    slow = bool(sentence_part(config))
    return Baseline("search", "documents", lambda: _documents(dataset, config), slow)


def _documents(dataset: PreparedDataset, config: TrainingConfig) -> Chosen:
    name = sentence_part(config)
    return Chosen(Documents(dataset, SentenceEncoder.load(name) if name else None))


def _items_repeat(dataset: PreparedDataset) -> bool:
    """Whether a recommendation may be an item of the history."""
    return "recommendation" in dataset.tasks and dataset.protocol.seen == "keep"


def _untuned(make: Callable[..., Retriever], *arguments: Any) -> Chosen:
    return Chosen(make(*arguments))


def _best(
    dataset: PreparedDataset,
    task: Task,
    make: Callable[..., Retriever],
    settings: Sequence[Mapping[str, Any]],
) -> Chosen:
    """The candidate with the best validation nDCG@10; the first one if several are equal."""
    if len(settings) == 1:
        return Chosen(make(**settings[0]), settings[0])
    best: Chosen | None = None
    best_value = -1.0
    for chosen in settings:
        retriever = make(**chosen)
        value = _validation_value(dataset, task, retriever)
        if value > best_value:
            best, best_value = Chosen(retriever, chosen, len(settings)), value
    assert best is not None, "there are settings"
    return best


def _validation_value(dataset: PreparedDataset, task: Task, retriever: Retriever) -> float:
    evaluation = evaluate(retriever, dataset, [task], "validation", [SELECTION])
    return evaluation.means()[task][str(SELECTION)]


def _bm25(dataset: PreparedDataset, texts: Field, grid: Sequence[Mapping[str, float]]) -> Chosen:
    """The best settings of the grid with words alone, then words or n-grams."""
    make = partial(BM25, dataset, texts)
    best = _best(dataset, "search", make, grid)
    if not can_have_ngrams(dataset.catalog.texts):
        return best
    settings = [best.settings, {**best.settings, "with_ngrams": True}]
    return replace(_best(dataset, "search", make, settings), candidates=len(grid) + 1)


def _item_knn(dataset: PreparedDataset) -> Chosen:
    grid = [{"neighbours": n, "shrinkage": s} for n, s in _NEIGHBOURS_AND_SHRINKAGE]
    return _best(dataset, "recommendation", partial(ItemKNN, dataset), grid)


def _personal_frequency(dataset: PreparedDataset) -> Chosen:
    grid = [{"decay": decay} for decay in _DECAYS]
    return _best(dataset, "recommendation", partial(PersonalFrequency, dataset), grid)


def _encoder(dataset: PreparedDataset, config: TrainingConfig) -> TextEncoder:
    queries = [example.query or "" for example in dataset.task("search").examples]
    encoder = resolve_encoder(sentence_part(config) or "tfidf", dataset.catalog.texts, queries)
    assert encoder is not None, "only auto may find none"
    return encoder


def _bi_encoder(dataset: PreparedDataset, config: TrainingConfig, name: str) -> Chosen:
    return Chosen(BiEncoder(dataset, _encoder(dataset, config), name))


def _history_mean(dataset: PreparedDataset, config: TrainingConfig) -> Chosen:
    encoder = _encoder(dataset, config)
    grid = [{"last": last} for last in _LAST]
    return _best(dataset, "recommendation", partial(HistoryMean, dataset, encoder), grid)


def _tuned(dataset: PreparedDataset, config: TrainingConfig, folder: Path, device: str) -> Chosen:
    encoder = tuned_encoder(dataset, config, folder / "bi-encoder", device=device)
    return Chosen(BiEncoder(dataset, encoder))


def tuned_encoder(
    dataset: PreparedDataset,
    config: TrainingConfig,
    folder: Path,
    tuning: TuningConfig | None = None,
    device: str = "auto",
) -> SentenceEncoder:
    """The configuration's sentence encoder, fine-tuned once on the training queries."""
    if artifact.is_complete(folder):
        artifact.load(folder, KIND)
        return SentenceEncoder.load(str(folder))
    name = sentence_part(config)
    assert name is not None

    def judge(encoder: SentenceEncoder) -> float:
        return _validation_value(dataset, "search", BiEncoder(dataset, encoder))

    start = SentenceEncoder.load(name)
    device_type = resolve_device(device).type
    return tune_encoder(dataset, start, folder, judge, tuning, device=device_type)


def _sasrec(
    dataset: PreparedDataset,
    folder: Path,
    config: TrainingConfig,
    device: str,
    threads: int | None,
    tune: int,
) -> Chosen:
    retriever = sasrec(dataset, folder, config, device=device, threads=threads, tune=tune)
    tuning = retriever.model.stamp.tuning or {}
    return Chosen(retriever, tuning.get("chosen", {}), tuning.get("recipes", 1))
