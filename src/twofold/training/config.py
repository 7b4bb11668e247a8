"""What a training run is made of, and the presets."""

import json
from pathlib import Path
from typing import Any, Literal

import pydantic

from twofold.artifact import read_json
from twofold.identifiers.scheme import IdSpace, QuantizerName, SemanticScheme, Strategy
from twofold.records import InputError

Budget = Literal["quick", "standard", "paper"]


class TrainingConfig(pydantic.BaseModel):
    """Everything that a model's numbers rest on besides the data, the arm and the seed."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    backbone: str = pydantic.Field(
        "decoder:small",
        description="decoder:SIZE, t5:SIZE or sasrec:SIZE with fresh weights (tiny, small, medium, "
        "base), or a checkpoint's name or folder",
    )
    encoder: str = pydantic.Field(
        "none",
        description="what lends queries and items its knowledge of language: tfidf, the name or "
        "folder of a sentence-transformers model, or tfidf+NAME for both; auto is tfidf where "
        "items have text, else none",
    )
    rows: Literal["text", "histories"] = pydantic.Field(
        "text",
        description="where item rows start: at the encoder's vectors of the items' texts (at "
        "random without an encoder), or at factors of the training histories; then every arm "
        "starts with knowledge of recommendation, so not for a study",
    )
    hybrid: Literal["auto", "none"] = pydantic.Field(
        "none",
        description="auto adds to an item's score in search what its document (text and training "
        "queries) has in common with the query, by words and by the sentence encoder, weighted on "
        "validation; atomic identifiers only",
    )
    identifiers: Literal["atomic", "semantic"] = pydantic.Field(
        "atomic",
        description="how items are named: by a code each, or by several, shared by similar ones",
    )
    embeddings: Literal["auto", Strategy] = pydantic.Field(
        "auto",
        description="what semantic IDs are made from; auto is multi-task where the data have both "
        "tasks, else what they have",
    )
    quantizer: QuantizerName = pydantic.Field(
        "rq-kmeans", description="vectors to codes, for semantic IDs"
    )
    levels: int | None = pydantic.Field(
        None, ge=1, description="codes of a semantic ID, besides one that tells equal ones apart"
    )
    codebook_size: int | None = pydantic.Field(
        None, ge=2, description="codes of a level; by default both suit the catalog's size"
    )
    id_space: IdSpace = pydantic.Field(
        "shared",
        description="one semantic ID an item, one for each task (separate), or shared-prefix: "
        "alike but for the last codes",
    )
    beams: int = pydantic.Field(
        50, ge=10, description="hypotheses of the beam search in validations, for semantic IDs"
    )
    max_history: int = pydantic.Field(200, ge=1, description="items of a history that are read")
    item_text: int = pydantic.Field(
        0,
        ge=0,
        description="search examples made of each item's text besides its title; 0 for none",
    )
    windows: Literal["last", "all"] = pydantic.Field(
        "last",
        description="of a longer history train on its last `max_history` items, or on all of it "
        "in windows of so many",
    )
    max_query: int = pydantic.Field(
        64,
        ge=1,
        description="tokens of a query that are read; a fresh backbone with an encoder reads the "
        "encoder's vector alone",
    )
    text_tokens: int = pydantic.Field(
        8000, ge=256, description="text tokens of a fresh vocabulary, at most"
    )
    dropout: float = pydantic.Field(0.2, ge=0, lt=1, description="of fresh backbones")
    updates: int = pydantic.Field(
        4000, ge=1, description="updates of the joint arm; other arms follow from it"
    )
    epochs: float | None = pydantic.Field(
        None, gt=0, description="passes of the joint arm over all data, instead of `updates`"
    )
    batch_tokens: int = pydantic.Field(
        4096, ge=1, description="tokens in a batch, padding included"
    )
    batch_requests: int = pydantic.Field(
        0, ge=0, description="sequences in a batch, at most; 0 for no limit but the tokens"
    )
    learning_rate: float = pydantic.Field(1e-3, gt=0, description="its peak; AdamW")
    warmup: float = pydantic.Field(
        0.05, ge=0, lt=1, description="share of the updates in which the rate rises"
    )
    weight_decay: float = pydantic.Field(0.01, ge=0, description="of matrices")
    clip: float = pydantic.Field(1.0, gt=0, description="largest norm of a gradient")
    source_weights: Literal["proportional", "balanced"] | dict[str, float] = pydantic.Field(
        "proportional", description="weights of the sources in the loss"
    )
    full_softmax_codes: int = pydantic.Field(
        20_000, ge=0, description="up to so many codes the softmax is full, above it is sampled"
    )
    negatives: int = pydantic.Field(512, ge=1, description="of the sampled softmax")
    validations: int = pydantic.Field(
        20,
        ge=1,
        description="validations within the joint arm's updates, at least; every arm gets ten",
    )
    validation_requests: int = pydantic.Field(
        1000, ge=1, description="requests of each task in a validation, at most"
    )
    patience: float = pydantic.Field(
        0.3,
        gt=0,
        description="training stops after this share of the joint arm's updates without a better "
        "validation",
    )
    precision: Literal["auto", "bfloat16", "float32"] = pydantic.Field(
        "auto", description="of matrix products; auto is bfloat16 where the device has it"
    )


def scheme_of(config: TrainingConfig) -> SemanticScheme:
    """How a configuration asks for semantic IDs."""
    return SemanticScheme(
        config.embeddings, config.quantizer, config.levels, config.codebook_size, config.id_space
    )


def sentence_part(config: TrainingConfig) -> str | None:
    """The sentence encoder that a configuration asks for, if any: its name or folder."""
    name = config.encoder.removeprefix("tfidf+")
    return None if name in ("none", "tfidf", "auto") else name


_RECIPE: dict[str, Any] = {
    "encoder": "auto",
    "hybrid": "auto",
    "windows": "all",
    "batch_tokens": 1024,
    "batch_requests": 128,
    "dropout": 0.1,
}
"""What was measured (docs/project/log): many small steps from where texts stand."""

PRESETS: dict[Budget, dict[str, Any]] = {
    "quick": {**_RECIPE, "updates": 1200},
    "standard": {**_RECIPE, "updates": 12_000},
    # The paper: flan-t5-base, 5 epochs of batches of 128; what it does not state (rate, decay)
    # follows its successor, 2508.10478.
    "paper": {
        "backbone": "google/flan-t5-base",
        "updates": 30_000,
        "batch_tokens": 16_384,
        "learning_rate": 2e-3,
        "warmup": 0.0,
    },
}


def _parsed(key: str, value: str) -> Any:
    """A setting's value; weights by name are written as a JSON object."""
    if not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise InputError(f"--set '{key}={value}': not a JSON object ({error})") from error


def resolve_config(
    budget: Budget = "standard",
    file: Path | None = None,
    settings: tuple[str, ...] = (),
    base: dict[str, Any] | None = None,
    **overrides: Any,
) -> TrainingConfig:
    """A preset, changed by `base`, by a JSON file, by KEY=VALUE settings, then by `overrides`.

    Raises:
        InputError: an unknown key or a value that does not fit; it names the key.
    """
    if budget not in PRESETS:
        raise InputError(f"--budget '{budget}': there is {', '.join(PRESETS)}")
    values: dict[str, Any] = dict(PRESETS[budget]) | (base or {})
    if file is not None:
        given = read_json(file)
        if not isinstance(given, dict):
            raise InputError(f"{file}: must hold a JSON object of settings")
        values.update(given)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set '{setting}': write it as KEY=VALUE")
        values[key] = _parsed(key, value)
    values.update({key: value for key, value in overrides.items() if value is not None})
    try:
        return TrainingConfig.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(TrainingConfig.model_fields)
        raise InputError(f"setting '{key}': {first['msg']}; the settings are {known}") from error
