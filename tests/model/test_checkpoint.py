"""A model folder holds the whole model, and a broken one is refused; batches of requests."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.model.random_model import grid, random_model, spaces_of
from twofold import artifact
from twofold.encoders.lexical import LexicalIndex, TrainingQueries
from twofold.identifiers.identifiers import atomic, shared
from twofold.model import checkpoint
from twofold.model.checkpoint import finite, load_model_folder, save_model, tries_of, with_matches
from twofold.model.hybrid import Hybrid
from twofold.model.stamp import KIND
from twofold.records import TASKS, InputError
from twofold.retrieval.generative import load_model
from twofold.tasks import arrays

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["shared", "separate", "shared prefix"])
def test_a_folder_gives_back_every_part(kind: str, tmp_path: Path) -> None:
    model = dataclasses.replace(
        random_model(spaces_of(grid(4, 3), 0, kind), "decoder:tiny", 0),
        histories={"ann": np.array([3, 1]), "bob": np.array([0])},
        item_vectors=np.eye(12, 5, dtype=np.float32),
    )
    save_model(model, tmp_path / "model", {"training": {"epochs": 1}})
    loaded = load_model_folder(tmp_path / "model", CPU)
    spaces, kept = model.vocabulary.spaces, loaded.vocabulary.spaces
    assert kept.digest == spaces.digest
    assert loaded.catalog.items.equals(model.catalog.items)
    assert (loaded.tasks, loaded.seen, loaded.precision) == (TASKS, "exclude", "float32")
    assert loaded.vocabulary.max_query_tokens == model.vocabulary.max_query_tokens
    assert {user: items.tolist() for user, items in loaded.histories.items()} == {
        "ann": [3, 1],
        "bob": [0],
    }
    assert loaded.item_vectors is not None
    assert loaded.item_vectors.dtype == np.float16
    assert np.array_equal(loaded.item_vectors, np.eye(12, 5))
    for task in TASKS:
        assert loaded.tries[task].items.tolist() == model.tries[task].items.tolist()
    weights = model.backbone.state_dict()
    assert all(torch.equal(t, weights[name]) for name, t in loaded.backbone.state_dict().items())
    config = artifact.load(tmp_path / "model", "model")["config"]
    assert config["training"] == {"epochs": 1}


def test_atomic_identifiers_have_no_trie() -> None:
    assert tries_of(shared(atomic(3))) == {}
    one, two = tries_of(shared(grid(2, 2))), tries_of(spaces_of(grid(2, 2), 0, "separate"))
    assert one["search"] is one["recommendation"]
    assert two["search"] is not two["recommendation"]


def test_a_broken_model_folder_is_refused(model_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"

    def fresh() -> Path:
        shutil.rmtree(copy, ignore_errors=True)
        return Path(shutil.copytree(model_folder, copy))

    (fresh() / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer.json: missing, so the model is incomplete"):
        load_model(copy)
    with (fresh() / "backbone" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(InputError, match=r"model.safetensors: changed since it was written"):
        load_model(copy)
    (fresh() / artifact.MANIFEST).unlink()
    with pytest.raises(InputError, match="not a finished model"):
        load_model(copy)
    manifest = artifact.read_json(fresh() / artifact.MANIFEST)
    artifact.write_json(copy / artifact.MANIFEST, {**manifest, "format": 99})
    with pytest.raises(InputError, match=r"written in format 99.*upgrade twofold"):
        load_model(copy)
    artifact.write_json(copy / artifact.MANIFEST, {**manifest, "kind": "dataset"})
    with pytest.raises(InputError, match="is a dataset, not a model; give the folder of a model"):
        load_model(copy)
    artifact.write_json(copy / artifact.MANIFEST, {**manifest, "kind": "export"})
    with pytest.raises(InputError, match="is an export, not a model"):
        load_model(copy)
    (copy / artifact.MANIFEST).write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        load_model(copy)
    with pytest.raises(InputError, match="no such folder"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((), {}, "config.model: Field required"),
        (("model",), {}, "config.model.identifiers: Field required"),
        (("model", "pad"), "x", 'config.model.pad: .* a valid integer.*, not "x"'),
        (("model", "tasks"), "search", "config.model.tasks: .* a valid tuple"),
        (("model", "tasks"), ["sing"], 'config.model.tasks.0: .*, not "sing"'),
        (("stamp",), [], "config.stamp: .* a valid dictionary"),
    ],
)
def test_a_config_with_another_form_is_refused(
    place: tuple[str, ...], value: object, message: str, model_folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    manifest = artifact.read_json(copy / artifact.MANIFEST)
    inner = manifest
    for key in ("config", *place)[:-1]:
        inner = inner[key]
    inner[("config", *place)[-1]] = value
    artifact.seal(copy, KIND, manifest["config"])
    with pytest.raises(InputError, match=f"manifest.json: {message}.*; make the model again"):
        load_model(copy)


def test_a_batch_is_padded_to_the_simd_width() -> None:
    model = random_model(shared(grid(4, 4)), "decoder:tiny", 0)
    request = model.vocabulary.encode_request(np.arange(5), "slow space")
    batch = model.batch_of([request])
    assert batch.tokens.shape[1] % 16 == 0
    assert batch.matches.shape == (1, 0)


def test_a_batch_with_a_query_has_the_scores_of_the_hybrid_part() -> None:
    plain = random_model(shared(atomic(3)), "decoder:tiny", 0)
    texts = ["space opera", "space heist", "dance"]
    hybrid = Hybrid(2.0, LexicalIndex.fit(texts, texts), TrainingQueries.of([], [], 3))
    model = dataclasses.replace(plain, hybrid=hybrid)
    encode = model.vocabulary.encode_request
    none = np.zeros(0, np.int64)
    alone = model.batch_of([encode(np.arange(2), None)])
    assert alone.matches.shape == (1, 0)
    batch = model.batch_of([encode(none, "heist"), encode(np.arange(2), None)])
    assert batch.matches.numpy() == pytest.approx(hybrid.scores(["heist", ""]))
    assert batch.matches[0].argmax() == 1
    logits = torch.zeros(2, 3)
    assert torch.equal(with_matches(logits, batch.matches), batch.matches)
    assert with_matches(logits, alone.matches) is logits


def test_a_model_that_diverged_is_named() -> None:
    with pytest.raises(InputError, match="its training diverged: train it again with a lower"):
        finite(torch.tensor([[1.0, float("nan")]]))


@pytest.mark.parametrize("rows", [3, 1000])
def test_histories_come_back_whatever_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(arrays, "_ROWS", rows)
    monkeypatch.setattr(checkpoint, "_USERS", rows - 1)
    told = {"a": [3, 1], "b": [], "c": [0], "d": [2, 2, 1, 0], "e": [5]}
    histories = {user: np.array(items, dtype=np.int64) for user, items in told.items()}
    model = random_model(spaces_of(grid(4, 3), 0, "shared"), "decoder:tiny", 0)
    save_model(dataclasses.replace(model, histories=histories), tmp_path / "model", {})
    loaded = load_model_folder(tmp_path / "model", CPU).histories
    assert {user: items.tolist() for user, items in loaded.items()} == told
    assert "x" not in loaded
