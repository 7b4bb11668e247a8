"""Where a training starts: identifiers, initial embeddings, and what a checkpoint has learned."""

from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.planted import (
    HISTORY_GROUPS,
    NO_TITLES,
    QUERY_GROUPS,
    TEXT_GROUPS,
    TITLES,
    planted_dataset,
    purity,
    with_other_held_out,
)
from twofold import artifact
from twofold.encoders.sentence import SentenceEncoder
from twofold.encoders.vectors import Vectors, unit
from twofold.identifiers.identifiers import atomic, shared
from twofold.model.vocabulary import train_tokenizer
from twofold.records import TASKS, Ints, Request
from twofold.retrieval.generative import load_model
from twofold.studies.interventions import TaskIntervention
from twofold.tasks.prepared import PreparedDataset
from twofold.training import start as training_start
from twofold.training.arm import NAMED_ARMS
from twofold.training.config import TrainingConfig, resolve_config
from twofold.training.start import Start, assign_identifiers, start
from twofold.training.train import train


def _config() -> TrainingConfig:
    return resolve_config(
        "quick", backbone="decoder:tiny", text_encoder="tfidf", text_vocab_size=400
    )


def _start(dataset: PreparedDataset, arm: str = "joint", item_init: str = "auto") -> Start:
    config = _config().model_copy(update={"item_init": item_init})
    return start(dataset, NAMED_ARMS[arm], shared(atomic(len(dataset.catalog))), config, seed=0)


def _item_embeddings(
    dataset: PreparedDataset, arm: str = "joint", item_init: str = "auto"
) -> Vectors:
    return _start(dataset, arm, item_init).backbone.output_embeddings().detach().numpy()


def _bits(initial: Start) -> list[bytes]:
    return [weight.detach().numpy().tobytes() for weight in initial.backbone.parameters()]


def _with_other_queries(dataset: PreparedDataset) -> PreparedDataset:
    """Another text of every query, and another relevant item."""
    names = dataset.catalog.item_ids
    other = dict(zip(names, names[1:] + names[:1], strict=True))
    return dataset.with_tables(
        queries=dataset.queries.with_columns(text=pl.lit("other ") + pl.col("text").str.reverse()),
        qrels=dataset.qrels.with_columns(pl.col("item_id").replace_strict(other)),
    )


def _with_other_events(dataset: PreparedDataset) -> PreparedDataset:
    """Other items in every history."""
    names = dataset.catalog.item_ids
    other = dict(zip(names, names[5:] + names[:5], strict=True))
    changed = pl.col("item_id").replace_strict(other)
    return dataset.with_tables(
        interactions=dataset.interactions.with_columns(changed.alias("item_id"))[:-7]
    )


@pytest.mark.parametrize(
    ("arm", "item_init", "groups"),
    [
        ("joint", "text", TEXT_GROUPS),
        ("search", "text", TEXT_GROUPS),
        ("recommendation", "text", TEXT_GROUPS),
        ("search", "factors", QUERY_GROUPS),
        ("recommendation", "factors", HISTORY_GROUPS),
    ],
)
def test_item_embeddings_start_at_texts_or_at_factors_of_the_arms_own_task(
    arm: str, item_init: str, groups: Ints
) -> None:
    assert purity(_item_embeddings(planted_dataset(), arm, item_init), groups) > 0.85


def test_joint_starts_from_the_factors_of_both_tasks() -> None:
    rows = _item_embeddings(planted_dataset(), "joint", "factors")
    cosines = unit(rows) @ unit(rows).T
    for groups in (HISTORY_GROUPS, QUERY_GROUPS):
        same = groups[:, None] == groups
        assert cosines[same].mean() > cosines[~same].mean() + 0.2


@pytest.mark.parametrize("item_init", ["auto", "text", "factors", "text+factors", "random"])
def test_no_arm_starts_from_the_other_tasks_data(item_init: str) -> None:
    dataset = planted_dataset()
    queries, events = _with_other_queries(dataset), _with_other_events(dataset)
    recommends, searches, joint = (
        _bits(_start(dataset, arm, item_init)) for arm in ("recommendation", "search", "joint")
    )
    assert _bits(_start(queries, "recommendation", item_init)) == recommends
    assert _bits(_start(events, "search", item_init)) == searches
    if item_init == "auto":  # the other way round, the same change is seen
        assert _bits(_start(events, "recommendation", item_init)) != recommends
        assert _bits(_start(queries, "search", item_init)) != searches
        assert _bits(_start(events, "joint", item_init)) != joint
        assert _bits(_start(queries, "joint", item_init)) != joint


def test_the_text_encoder_reads_the_arms_own_queries_alone() -> None:
    dataset = planted_dataset()
    for arm, knows in (("recommendation", False), ("search", True)):
        encoder = _start(dataset, arm).vocabulary.encoder
        assert encoder is not None
        assert encoder.encode(["velvet"]).any()
        assert encoder.encode(["zinc"]).any() == knows, "a word of queries alone"


def test_an_intervention_reaches_the_start() -> None:
    """Else a joint arm would know of the real pairs what its changed examples hide."""
    dataset = planted_dataset()
    real = _item_embeddings(dataset, "joint", "factors")
    for task in TASKS:
        changed = TaskIntervention("shuffled", task).arm
        spaces = shared(atomic(len(dataset.catalog)))
        config = _config().model_copy(update={"item_init": "factors"})
        rows = start(dataset, changed, spaces, config, seed=0).backbone.output_embeddings()
        groups = HISTORY_GROUPS if task == "recommendation" else QUERY_GROUPS
        assert purity(rows.detach().numpy(), groups) < purity(real, groups)


def test_a_catalog_without_text_starts_from_factors() -> None:
    dataset = planted_dataset(titles=NO_TITLES)
    config = _config().model_copy(update={"text_encoder": "auto"})
    spaces = shared(atomic(len(dataset.catalog)))
    for arm, groups in (("search", QUERY_GROUPS), ("recommendation", HISTORY_GROUPS)):
        initial = start(dataset, NAMED_ARMS[arm], spaces, config, seed=0)
        assert (initial.vocabulary.encoder is not None) == (arm == "search")
        rows = initial.backbone.output_embeddings().detach().numpy()
        assert purity(rows, groups) > 0.85


def test_held_out_queries_and_events_are_not_read() -> None:
    dataset = planted_dataset()
    for arm in NAMED_ARMS:
        other = _start(with_other_held_out(dataset), arm)
        assert _bits(_start(dataset, arm)) == _bits(other)


@pytest.mark.parametrize("backbone", ["decoder:tiny", "t5:tiny", "sasrec:tiny"])
@pytest.mark.parametrize("kind", ["tfidf", "sentence"])
def test_a_model_with_an_encoder_answers_the_same_after_loading(
    catalog: PreparedDataset,
    sentence_encoder: SentenceEncoder,
    quick_config: TrainingConfig,
    tmp_path: Path,
    backbone: str,
    kind: str,
) -> None:
    name = "tfidf" if kind == "tfidf" else sentence_encoder.name
    config = quick_config.model_copy(
        update={
            "text_encoder": name,
            "backbone": backbone,
            "hybrid": "none",  # its scores are larger than this limit can distinguish
            "max_steps": 6,
            "item_text_queries": 2,
        }
    )
    trained = train(catalog, "joint", out=tmp_path / "m", config=config, device="cpu")
    requests = [
        Request("query", query="dark western film"),
        Request("history", history=("film-1", "film-2")),
        Request("both", query="wedding", history=("film-9",)),
    ]
    loaded = load_model(tmp_path / "m").retrieve(requests, 10)
    for request_id, ranking in trained.retrieve(requests, 10).rankings.items():
        assert loaded[request_id].item_ids == ranking.item_ids
        # A loaded model sums in packed layers: equal up to the rounding of float32 logits.
        assert loaded[request_id].scores == pytest.approx(ranking.scores, rel=1e-6, abs=3e-5)


def test_what_a_checkpoint_has_learned_is_kept(
    catalog: PreparedDataset, quick_config: TrainingConfig, tmp_path: Path
) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(catalog.catalog.texts, 300), eos_token="</s>"
    )
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    learned = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **heads))
    learned.save_pretrained(tmp_path / "checkpoint")
    changes = {
        "backbone": str(tmp_path / "checkpoint"),
        "text_encoder": "tfidf",
        "learning_rate": 1e-9,
    }
    config = quick_config.model_copy(update=changes | {"max_steps": 1})
    trained = train(catalog, "search", out=tmp_path / "m", config=config, device="cpu")
    for block in ("self_attn.o_proj", "mlp.down_proj"):
        name = f"model.layers.0.{block}"
        kept = trained.model.backbone.model.get_submodule(name).weight
        torch.testing.assert_close(kept, learned.get_submodule(name).weight, atol=1e-6, rtol=0)


def test_semantic_ids_come_from_the_sentence_encoder_of_the_configuration(
    catalog: PreparedDataset,
    quick_config: TrainingConfig,
    sentence_encoder: SentenceEncoder,
    tmp_path: Path,
) -> None:
    semantic = quick_config.model_copy(
        update={"identifiers": "semantic", "id_embeddings": "search", "max_steps": 4}
    )
    config = semantic.model_copy(update={"text_encoder": f"tfidf+{sentence_encoder.name}"})
    kept = tmp_path / "encoders"
    named = assign_identifiers(catalog, config, kept)
    assert artifact.is_complete(kept / "search"), "tuned on the task's pairs"
    assert named.spaces.digest != assign_identifiers(catalog, semantic, kept).spaces.digest
    model = train(catalog, "joint", out=tmp_path / "model", config=config, device="cpu").model
    assert model.vocabulary.spaces.digest == named.spaces.digest
    assert {path.name for path in tmp_path.iterdir()} == {"encoders", "model"}


@pytest.mark.parametrize("arm", NAMED_ARMS)
def test_from_behaviour_no_text_of_an_item_is_read(arm: str) -> None:
    config = _config().model_copy(update={"item_texts": "none", "item_text_queries": 3})
    others = tuple(f"turquoise {title}" for title in reversed(TITLES))
    one, other = planted_dataset(), planted_dataset(titles=others)
    spaces = shared(atomic(len(one.catalog)))

    def begun(dataset: PreparedDataset, config: TrainingConfig) -> Start:
        return start(dataset, NAMED_ARMS[arm], spaces, config, seed=0)

    read = config.model_copy(update={"item_texts": "auto"})
    assert _bits(begun(one, read)) != _bits(begun(other, read)), "the change is seen where they are"
    for item_init in ("auto", "text", "random"):
        silent = config.model_copy(update={"item_init": item_init})
        initial = begun(other, silent)
        assert _bits(begun(one, silent)) == _bits(initial)
        assert initial.item_vectors is None
        encoder = initial.vocabulary.encoder
        assert (encoder is None) == (arm == "recommendation")
        assert encoder is None or not encoder.encode(["turquoise velvet"]).any()
        if arm != "recommendation":
            queries = one.task("search").examples
            assert len(initial.sources["search"].examples) == len(queries), "none made of a text"


def test_a_very_large_catalog_is_told_of_semantic_ids(
    catalog: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are recommended, and atomic identifiers are made as asked."""
    caplog.set_level("INFO")
    items = len(catalog.catalog)
    for most, said in ((items, False), (items - 1, True)):
        monkeypatch.setattr(training_start, "MOST_ATOMIC", most)
        caplog.clear()
        assert assign_identifiers(catalog, _config(), tmp_path).spaces.are_atomic
        assert ("semantic IDs are recommended" in caplog.text) == said
        assert (f"{items} items" in caplog.text) == said
