"""An exported folder is read without a line of the package, and answers as the model does."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from tests.model.exported import CLOSE, QUERIES, assert_equal_answers, reader_of
from tests.model.random_model import grid, random_model, spaces_of
from twofold import artifact
from twofold.encoders.item_vectors import similarities
from twofold.identifiers.identifiers import IdSpaces, atomic, shared
from twofold.model.checkpoint import save_model
from twofold.model.export import KIND, describe, export_model, require_exportable
from twofold.model.hybrid import history_matches, with_second
from twofold.records import TASKS, InputError, Request
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.prepared import PreparedDataset

BEAMS = 20


def exported(
    model_folder: Path, out: Path, removed: tuple[str, ...] = (), beams: int = BEAMS
) -> GenerativeRetriever:
    """Export a model folder; returns the retriever to compare with."""
    retriever = load_model(model_folder)
    retriever.remove(removed)
    retriever.beams = beams
    export_model(retriever.model, model_folder / "backbone", retriever.alive, out)
    return retriever


@pytest.fixture(
    params=[
        ("decoder:tiny", "shared"),
        ("decoder:tiny", "separate"),
        ("decoder:tiny", "shared prefix"),
        ("sasrec:tiny", "shared"),
    ],
    ids=" ".join,
)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model without a text encoder, whose probabilities differ; every third identifier exists."""
    backbone, kind = request.param
    model = random_model(spaces_of(grid(6, 7, 5, step=3), 1, kind), backbone, seed=2)
    save_model(model, tmp_path / "model", {})
    return tmp_path / "model"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "exported"


def test_the_guides_beam_search_finds_the_same_items_with_the_same_scores(
    saved: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = exported(saved, out)
    assert_equal_answers(reader_of(out, monkeypatch), retriever, k=10)


def test_a_trained_model_with_query_vectors_and_hybrid_parts_answers_alike(
    semantic_folder: Path, catalog: PreparedDataset, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = similarities(catalog.task("recommendation").examples, len(catalog.catalog))
    match = dataclasses.replace(with_second(history_matches(tables)[0], tables)[0], weight=3.0)
    model = dataclasses.replace(load_model(semantic_folder).model, history_match=match)
    retriever = GenerativeRetriever(model, beams=10)  # so that some items only match
    export_model(model, semantic_folder / "backbone", retriever.alive, out)
    reader = reader_of(out, monkeypatch)
    assert retriever.model.vocabulary.encoder
    assert reader["about"]["hybrid"], "validation gave the documents a weight"
    assert reader["about"]["history_match"]
    assert reader["about"]["query_vectors"]["width"] == retriever.model.vocabulary.vector_width
    assert_equal_answers(reader, retriever, k=10)


def test_log_probabilities_over_the_whole_vocabulary_give_the_same_scores(
    saved: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an engine returns them for the tokens that it is asked about."""
    retriever = exported(saved, out)
    reader = reader_of(out, monkeypatch)
    logits = reader["next_logits"]

    def log_probabilities(*arguments: Any) -> Any:
        return torch.from_numpy(logits(*arguments)).log_softmax(dim=1).numpy()

    reader["next_logits"] = log_probabilities
    assert_equal_answers(reader, retriever, k=10)


def test_removed_items_do_not_come_back_and_may_be_in_a_history(
    saved: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = tuple(load_model(saved).model.catalog.item_ids[2:40])
    retriever = exported(saved, out, removed, beams=40)
    reader = reader_of(out, monkeypatch)
    assert_equal_answers(reader, retriever, k=40)
    assert tuple(reader["items"].filter(~reader["items"]["allowed"])["item_id"]) == removed


def _leaves(trie: Mapping[str, Any], node: int, tokens: tuple[int, ...]) -> Iterator[Any]:
    """The leaves below a node with the tokens that lead to them; counts are checked on the way."""
    first, end = trie["offsets"][node : node + 2]
    if first == end:
        yield node, tokens
        return
    children = trie["next"][first:end]
    assert trie["counts"][node] == trie["counts"][children].sum()
    for child, token in zip(children, trie["tokens"][first:end], strict=True):
        yield from _leaves(trie, child, (*tokens, int(token)))


def test_the_trie_holds_the_identifiers_of_the_catalog_and_no_others(
    saved: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = exported(saved, out, ("item-004", "item-050"))
    reader, vocabulary = reader_of(out, monkeypatch), retriever.model.vocabulary
    for task in TASKS:
        trie = reader["load_file"](out / reader["about"]["tasks"][task]["trie"])
        last = len(trie["counts"]) - len(trie["items"])
        found = {int(trie["items"][leaf - last]): tokens for leaf, tokens in _leaves(trie, 0, ())}
        tokens = (vocabulary.spaces.of(task).codes + vocabulary.code_tokens(task)).tolist()
        assert found == {item: tuple(row) for item, row in enumerate(tokens)}
        assert reader["items"][task].to_list() == tokens
        may_come = trie["items"][trie["counts"][last:] == 1]
        assert sorted(may_come) == np.flatnonzero(retriever.alive).tolist()


def test_generate_of_transformers_takes_the_trie(
    saved: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the options that the guide names its scores are the same as well."""
    retriever = exported(saved, out, beams=10)
    reader = reader_of(out, monkeypatch)
    about = reader["about"]["tasks"]["search"]
    trie = reader["load_file"](out / about["trie"])
    prompt = torch.tensor([reader["prompt_of"](query="space opera")])

    def allowed(_: int, ids: torch.Tensor) -> list[int]:
        first, end = trie["offsets"][:2]
        for token in ids[prompt.shape[1] :].tolist():
            node = first + np.searchsorted(trie["tokens"][first:end], token) + 1
            first, end = trie["offsets"][node : node + 2]
        tokens: list[int] = trie["tokens"][first:end].tolist()
        return tokens

    made = reader["model"].generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        num_beams=10,
        num_return_sequences=10,
        max_new_tokens=about["levels"],
        do_sample=False,
        prefix_allowed_tokens_fn=allowed,
        renormalize_logits=True,
        length_penalty=0.0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    item_of = {tuple(row): n for n, row in enumerate(reader["items"]["search"].to_list())}
    rows = [item_of[tuple(row)] for row in made.sequences[:, prompt.shape[1] :].tolist()]
    ours = retriever.retrieve([Request("q", query="space opera")], 10)["q"]
    assert tuple(reader["items"]["item_id"].gather(rows)) == ours.item_ids
    assert made.sequences_scores.tolist() == pytest.approx(ours.scores, abs=CLOSE)


def test_the_folder_is_an_artifact_whose_tokenizer_reads_queries_as_the_model_does(
    saved: Path, out: Path
) -> None:
    vocabulary = exported(saved, out).model.vocabulary
    tokenizer = AutoTokenizer.from_pretrained(out)
    for text in [*QUERIES, "Ünïcode ÆØ 東京 \t two  spaces"]:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids[: vocabulary.max_query_tokens] == vocabulary.encode_query(text)
    assert "export.json" in artifact.load(out, KIND)["files"]
    with pytest.raises(InputError, match="exists and is not empty"):
        exported(saved, out)


def test_a_task_that_was_not_learned_is_not_offered() -> None:
    model = random_model(shared(grid(3, 3)), "decoder:tiny", seed=0)
    about = describe(dataclasses.replace(model, tasks=("search",)))
    assert list(about["tasks"]) == ["search"]
    json.dumps(about, allow_nan=False)


@pytest.mark.parametrize(
    ("backbone", "spaces", "says"),
    [
        ("t5:tiny", shared(grid(4, 4)), "^m: its backbone is an encoder-decoder"),
        ("t5:tiny", shared(atomic(9)), "^m: its backbone is an encoder-decoder"),
        ("decoder:tiny", shared(atomic(9)), "^m: has atomic identifiers"),
    ],
)
def test_what_such_an_engine_cannot_decode_is_refused(
    backbone: str, spaces: IdSpaces, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        require_exportable(random_model(spaces, backbone, seed=0), "m")
