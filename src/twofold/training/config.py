"""The settings of a training, and the presets."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import pydantic
import pydantic_core

from twofold.artifact import read_json
from twofold.evaluation.measures import Measure
from twofold.identifiers.identifiers import IdSpace, QuantizerName, SemanticScheme, Strategy
from twofold.records import InputError, Task

Budget = Literal["quick", "standard", "paper"]

SELECTION = Measure("nDCG", 10)
"""The measure of validations, by which checkpoints and recipes are chosen."""

_MAX_LENGTH = 100_000
"""The largest number of items, and of query tokens, in a request: positions have embeddings."""


class TrainingConfig(pydantic.BaseModel):
    """All settings of a training; its result depends on these, the data, the arm and the seed.

    The defaults are the preset `standard`: many small steps, and item embeddings that are
    initialised from item texts and the arm's own training data.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        assert info.field_name is not None
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise pydantic_core.PydanticCustomError("boolean", "Input should not be a boolean")
        return value

    backbone: str = pydantic.Field(
        "decoder:small",
        description="decoder:SIZE, t5:SIZE or sasrec:SIZE for fresh weights (tiny, small, medium "
        "or base), or the name or folder of a checkpoint",
    )
    text_encoder: str = pydantic.Field(
        "auto",
        description="text encoder whose embeddings initialise queries and items: tfidf, the name "
        "or folder of a sentence-transformers model, tfidf+NAME for both, or none; auto is tfidf "
        "if the items or the arm's queries have words, else none",
    )
    item_init: Literal["auto", "text", "factors", "text+factors", "random"] = pydantic.Field(
        "auto",
        description="initial values of the item embeddings: the text encoder's embeddings of the "
        "items' texts; factors of the arm's own training data (of histories in recommendation, of "
        "queries in search, of both in joint); both of them; or random. auto is text+factors, "
        "or factors if there is no text",
    )
    item_texts: Literal["auto", "none"] = pydantic.Field(
        "auto",
        description="auto reads the items' texts; with none the model learns from behaviour, that "
        "is from queries and histories alone",
    )
    hybrid: Literal["auto", "after", "none"] = pydantic.Field(
        "auto",
        description="auto adds to an item's search score how well its document (its text, and its "
        "training queries if these help) matches the query, by words and by the sentence "
        "encoder, with a weight chosen on validation; after adds it only after training, so "
        "checkpoints are compared without it, as in a study. Both add to an item's recommendation "
        "score how often it followed the items of the history in training, or how many users they "
        "share, where validation gains by it. none adds nothing",
    )
    identifiers: Literal["atomic", "semantic"] = pydantic.Field(
        "atomic",
        description="atomic gives each item a unique code; semantic gives it several codes, which "
        "similar items share",
    )
    id_embeddings: Literal["auto", Strategy] = pydantic.Field(
        "auto",
        description="embeddings from which semantic IDs are computed; auto is multi-task for a "
        "dataset with both tasks, else its only task",
    )
    quantizer: QuantizerName = pydantic.Field(
        "rq-kmeans", description="method that turns embeddings into codes, for semantic IDs"
    )
    levels: int | None = pydantic.Field(
        None,
        ge=1,
        description="number of codes in a semantic ID, without the level that resolves collisions; "
        "by default it follows from the size of the catalog",
    )
    codebook_size: int | None = pydantic.Field(
        None,
        ge=2,
        description="number of codes in each level; by default it follows from the size of the "
        "catalog",
    )
    id_space: IdSpace = pydantic.Field(
        "shared",
        description="shared gives an item one semantic ID, separate one for each task, and "
        "shared-prefix one for each task, which differ in the last code",
    )
    num_beams: int = pydantic.Field(
        50, ge=10, description="number of beams in validations, for semantic IDs"
    )
    max_history: int = pydantic.Field(
        200,
        ge=1,
        le=_MAX_LENGTH,
        description="largest number of history items that the model reads",
    )
    item_text_queries: int = pydantic.Field(
        0,
        ge=0,
        description="number of search examples made from each item's text, next to one made from "
        "its title; 0 makes none",
    )
    long_histories: Literal["truncate", "windows"] = pydantic.Field(
        "windows",
        description="how to train on a history of more than `max_history` items: truncate keeps "
        "its last items, windows cuts all of it into pieces of that length",
    )
    max_query_tokens: int = pydantic.Field(
        64,
        ge=1,
        le=_MAX_LENGTH,
        description="largest number of query tokens that the model reads; a fresh backbone with a "
        "text encoder reads the encoder's embedding alone",
    )
    text_vocab_size: int = pydantic.Field(
        8000, ge=256, description="largest number of text tokens in a fresh vocabulary"
    )
    request_time: bool = pydantic.Field(
        False,
        description="whether recommendation reads the time between the last event of the history "
        "and the request; an evaluation then passes the time of the target event to the model; "
        "other models do not read it",
    )
    dropout: float = pydantic.Field(
        0.1, ge=0, lt=1, description="dropout of newly initialised models"
    )
    max_steps: int | None = pydantic.Field(
        None,
        ge=1,
        description="largest number of training steps of an arm; by default only early stopping "
        "ends a training",
    )
    max_time: float | None = pydantic.Field(
        None,
        gt=0,
        description="largest number of minutes of a training; a run that ends by it is not "
        "reproducible, since another run or machine takes another number of steps",
    )
    epochs: float | None = pydantic.Field(
        None,
        gt=0,
        description="largest number of epochs over the arm's own training data",
    )
    batch_tokens: int = pydantic.Field(
        1024, ge=1, description="number of tokens in a batch, padding included"
    )
    max_batch_size: int = pydantic.Field(
        128,
        ge=0,
        description="largest number of sequences in a batch; with 0, `batch_tokens` is the only "
        "limit",
    )
    learning_rate: float = pydantic.Field(1e-3, gt=0, description="peak learning rate of AdamW")
    warmup_steps: int = pydantic.Field(
        50, ge=0, description="number of steps in which the learning rate rises"
    )
    lr_schedule: Literal["constant", "cosine"] = pydantic.Field(
        "constant",
        description="learning rate after warm-up: constant, or cosine decay to a tenth of "
        "the peak at the last step, which needs max_steps or epochs; with max_steps alone, a "
        "single-task arm trains for its share of these steps",
    )
    averaging: float = pydantic.Field(
        0.125,
        ge=0,
        lt=1,
        description="share of the steps so far over which the weights are averaged; the average "
        "is validated and saved; 0 uses the last weights",
    )
    weight_decay: float = pydantic.Field(
        0.01, ge=0, description="weight decay of the parameters with two dimensions or more"
    )
    max_grad_norm: float = pydantic.Field(
        1.0,
        gt=0,
        allow_inf_nan=True,
        description="largest norm of the gradients; larger ones are clipped",
    )
    source_weights: Literal["proportional", "balanced"] | dict[Task, float] = pydantic.Field(
        "proportional",
        description="weights of the sources (search, recommendation) in the loss: in proportion "
        "to their numbers of targets, equal (balanced), or a JSON object with a weight for each",
    )
    full_softmax_max_codes: int = pydantic.Field(
        20_000,
        ge=0,
        description="largest number of codes with a full softmax; above it the softmax is sampled, "
        "and a step changes only the embeddings of the items that it read or scored",
    )
    num_negatives: int = pydantic.Field(
        4096, ge=1, description="number of negatives that a batch shares in the sampled softmax"
    )
    max_validation_requests: int = pydantic.Field(
        5000,
        ge=1,
        description="largest number of validation requests of each task for the last comparison "
        "of checkpoints; earlier validations use a sample. If requests are expensive to "
        "answer, fewer are used, at least 1000",
    )
    validation_share: float = pydantic.Field(
        0.12,
        gt=0,
        description="largest share of validation in a training's arithmetic operations; an "
        "expensive validation is run less often",
    )
    patience: float = pydantic.Field(
        0.5,
        gt=0,
        description="early stopping: training stops when the best validation, at step s, is this "
        "share of s and at least 100 steps ago, and no later one is better on all requests",
    )
    precision: Literal["auto", "bfloat16", "float32"] = pydantic.Field(
        "auto",
        description="number format of matrix products; auto is bfloat16 if the device supports it",
    )


def scheme_of(config: TrainingConfig) -> SemanticScheme:
    """The scheme of the semantic IDs of a configuration."""
    return SemanticScheme(
        config.id_embeddings, config.quantizer, config.levels, config.codebook_size, config.id_space
    )


def item_parts(config: TrainingConfig) -> tuple[str, ...]:
    """The parts that initialise the item embeddings: `text`, `factors`, both, or none."""
    wanted = "text+factors" if config.item_init == "auto" else config.item_init
    return tuple(part for part in wanted.split("+") if part != "random")


def sentence_part(config: TrainingConfig) -> str | None:
    """The name or folder of a configuration's sentence encoder; None without one."""
    name = config.text_encoder.removeprefix("tfidf+")
    return None if name in ("none", "tfidf", "auto") else name


PRESETS: dict[Budget, dict[str, Any]] = {
    "quick": {"max_steps": 1200},
    "standard": {},
    # The settings of the paper: flan-t5-base and 5 epochs in batches of 128. The paper does not
    # state learning rate and weight decay; these are from its successor, arXiv 2508.10478.
    "paper": {
        "backbone": "google/flan-t5-base",
        "text_encoder": "none",
        "item_init": "random",
        "hybrid": "none",
        "long_histories": "truncate",
        "dropout": 0.2,
        "max_steps": 30_000,
        "batch_tokens": 16_384,
        "max_batch_size": 0,
        "learning_rate": 2e-3,
        "warmup_steps": 0,
        "lr_schedule": "cosine",
        "averaging": 0.0,
        "patience": 1.0,
    },
}
"""The settings of each preset that differ from the defaults."""


def _parsed(key: str, value: str) -> Any:
    """The value of a setting; a value that begins with `{` is parsed as a JSON object."""
    if not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"--set '{key}={value}': not a JSON object ({error})") from error


def as_config(config: TrainingConfig | None) -> TrainingConfig:
    """The given configuration, or the `standard` preset.

    Raises:
        InputError: `config` has another type, such as a mapping of settings.
    """
    if config is not None and not isinstance(config, TrainingConfig):
        raise InputError(
            f"config: {type(config).__name__} is not a configuration; make one with "
            f"twofold.resolve_config(max_steps=1000)"
        )
    return config or resolve_config()


MAX_SEED = 2**32 - 1
"""The largest seed that every random number generator accepts."""


MAX_THREADS = 1024
"""The largest number of CPU threads; torch crashes where the system has no memory for more."""


def require_seed(seed: object) -> None:
    """Raise InputError unless `seed` is a whole number from 0 to `MAX_SEED`."""
    _require_whole("seed", seed, 0, MAX_SEED)


def require_threads(threads: object) -> None:
    """Raise InputError unless `threads` is None, or a whole number from 1 to `MAX_THREADS`."""
    if threads is not None:
        _require_whole("threads", threads, 1, MAX_THREADS)


def require_steps(steps: object) -> None:
    """Raise InputError unless `steps` is None, or a whole number from 1 to 2^31 - 1."""
    if steps is not None:
        _require_whole("steps", steps, 1, 2**31 - 1)


def _require_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name} {value!r}: must be a whole number from {least} to {most}")


def resolve_config(
    budget: Budget = "standard",
    file: Path | None = None,
    settings: tuple[str, ...] = (),
    base: dict[str, Any] | None = None,
    **overrides: Any,
) -> TrainingConfig:
    """A preset, changed by `base`, by a JSON file, then by KEY=VALUE settings and `overrides`.

    Args:
        budget: the name of the preset.
        file: a JSON file with an object of settings.
        settings: settings as KEY=VALUE.
        base: settings that replace those of the preset.
        overrides: settings by name; None leaves a setting unchanged.

    Raises:
        InputError: a setting does not exist, its value is invalid, or `settings` and `overrides`
            have two values of it; the message names it.

    Example:
        import twofold

        config = twofold.resolve_config("quick", max_steps=500, source_weights="balanced")
    """
    if budget not in PRESETS:
        raise InputError(f"--budget '{budget}': no such preset; choose one of {', '.join(PRESETS)}")
    values: dict[str, Any] = dict(PRESETS[budget]) | (base or {})
    from_file = _read_settings(file) if file is not None else {}
    from_command = _of_command(settings, overrides)
    try:
        return TrainingConfig.model_validate(values | from_file | from_command)
    except pydantic.ValidationError as error:
        places = dict.fromkeys(from_file.keys() - from_command.keys(), f"{file}: ")
        raise InputError(_complaint(error, places)) from error


def _of_command(settings: tuple[str, ...], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of KEY=VALUE and of `overrides`; InputError if two of them contradict."""
    pairs: list[tuple[str, Any]] = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set '{setting}': write it as KEY=VALUE")
        pairs.append((key.strip(), _parsed(key, value.strip())))
    pairs += [(key, value) for key, value in overrides.items() if value is not None]
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values and _read(name, values[name]) != _read(name, value):
            raise InputError(
                f"setting '{name}': is given as {values[name]} and as {value} (by --set or an "
                f"option such as --max-steps); give it once"
            )
        values[name] = value
    return values


def _read(name: str, value: Any) -> Any:
    """The value that a setting has if it is given as `value`; an invalid one as it is."""
    try:
        return getattr(TrainingConfig.model_validate({name: value}), name)
    except pydantic.ValidationError:
        return value


def _read_settings(file: Path) -> dict[str, Any]:
    """The settings of a JSON file."""
    settings = read_json(file, "write it as a JSON object of settings, in UTF-8")
    if not isinstance(settings, dict):
        raise InputError(f"{file}: must contain a JSON object of settings")
    return settings


def _complaint(error: pydantic.ValidationError, places: Mapping[str, str]) -> str:
    """A message about the first invalid setting; for an unknown name it lists all names.

    Args:
        error: what is invalid.
        places: the beginning of the message for settings that were read from a file.
    """
    first, *others = error.errors()
    key = str(first["loc"][0])
    if isinstance(first["input"], dict):  # the first error is that it is no name
        first = next((other for other in others if other["loc"][0] == key), first)
    setting = f"{places.get(key, '')}setting '{key}'"
    if first["type"] != "extra_forbidden":
        return f"{setting}: {first['msg']}, not {json.dumps(first['input'], default=str)}"
    names = list(TrainingConfig.model_fields)
    alike = get_close_matches(key.lower().replace("-", "_"), names, n=1, cutoff=0.8)
    hint = f"did you mean {alike[0]}? " if alike else ""
    return f"{setting}: does not exist; {hint}the settings are {', '.join(names)}"
