"""Fresh backbones: their sizes, and what their weights start from."""

import numpy as np
import pytest
import torch

from tests.model.random_model import grid, random_vocabulary
from twofold.encoders.item_vectors import on_principal_axes
from twofold.encoders.text_encoder import resolve_encoder
from twofold.encoders.vectors import unit
from twofold.identifiers.identifiers import atomic, shared
from twofold.model.fresh import (
    fresh_backbone,
    is_fresh,
    start_from_vectors,
    zero_init_residuals,
)
from twofold.model.vocabulary import fresh_vocabulary, train_tokenizer
from twofold.records import InputError
from twofold.tasks.prepared import PreparedDataset


def test_an_untrained_model_ranks_as_its_text_encoder(catalog: PreparedDataset) -> None:
    texts, queries = catalog.catalog.texts, catalog.queries["text"].to_list()
    encoder = resolve_encoder("tfidf", texts, queries)
    assert encoder is not None
    assert encoder.width <= 256, "the model is as wide, so nothing is lost"
    spaces = shared(atomic(len(texts)))
    vocabulary = fresh_vocabulary(train_tokenizer(texts, 400), spaces, 8, 0, encoder)
    backbone = fresh_backbone("decoder:base", vocabulary, 0.0, seed=0).eval()
    zero_init_residuals(backbone)
    known = on_principal_axes(encoder.encode(texts), encoder.encode(queries), 256)
    start_from_vectors(backbone, spaces, known.items, known.query_map)
    nothing = np.zeros(0, dtype=np.int64)
    with torch.inference_mode():
        batch = vocabulary.collate([vocabulary.encode_request(nothing, q) for q in queries[:50]])
        scores = backbone.states(batch) @ backbone.output_embeddings().T
    cosines = encoder.encode(queries[:50]) @ encoder.encode(texts).T
    agreement = [
        np.corrcoef(ours, theirs)[0, 1] for ours, theirs in zip(scores, cosines, strict=True)
    ]
    assert np.median(agreement) > 0.97


def test_a_wide_start_keeps_the_cosines_of_histories_and_of_queries() -> None:
    rng = np.random.default_rng(0)
    spaces = shared(atomic(12))
    encoder = resolve_encoder("tfidf", [f"word{n} thing{n % 3}" for n in range(12)], ())
    assert encoder is not None
    vocabulary = fresh_vocabulary(train_tokenizer(["a b"], 300), spaces, 8, 0, encoder)
    backbone = fresh_backbone("decoder:tiny", vocabulary, 0.0, seed=0)
    with torch.no_grad():
        backbone.output_embeddings()[:] = 0
    behaviour = unit(rng.normal(size=(12, 5)).astype(np.float32))
    texts = encoder.encode([f"thing{n % 3} word{n}" for n in range(12)])
    queries = encoder.encode(["word1", "thing2"])
    known = on_principal_axes(np.hstack([behaviour, texts]), queries, 64)
    start_from_vectors(backbone, spaces, known.items, known.query_map)
    assert backbone.query_map is not None
    rows = backbone.output_embeddings().detach().numpy()
    asked = backbone.query_map(torch.from_numpy(queries)).detach().numpy()
    assert np.allclose(asked @ rows.T, 400 / 64 * queries @ texts.T, atol=1e-3)
    together = behaviour @ behaviour.T + texts @ texts.T
    assert np.allclose(rows @ rows.T, 400 / 64 * together, atol=1e-3)


def test_the_sum_of_an_items_codes_is_near_its_vector() -> None:
    spaces = shared(grid(3, 4))
    backbone = fresh_backbone("decoder:tiny", random_vocabulary(spaces), 0.0, seed=0)
    before = backbone.output_embeddings().detach().clone()
    vectors = np.repeat(np.eye(3, 8, dtype=np.float32), 4, axis=0)  # the first code alone decides
    start_from_vectors(backbone, spaces, vectors)
    added = (backbone.output_embeddings().detach() - before).numpy()
    first, second = added[:3], added[3:]
    assert np.allclose(first[:, :3], 20 / 8 * np.eye(3), atol=1e-5)
    assert np.allclose(second, 0, atol=1e-5)
    assert not added[:, 8:].any()


def test_blocks_of_a_zero_initialised_decoder_add_nothing() -> None:
    vocabulary = random_vocabulary(shared(atomic(6)))
    backbone = fresh_backbone("decoder:tiny", vocabulary, 0.0, seed=0).eval()
    zero_init_residuals(backbone)
    batch = vocabulary.collate([vocabulary.encode_request(np.arange(3), None)])
    with torch.no_grad():
        embedded = backbone.inputs(batch)[0, -1]
        norm = backbone.model.base_model.norm
        torch.testing.assert_close(backbone.states(batch)[0], norm(embedded))


def test_equal_seeds_give_equal_weights() -> None:
    vocabulary = random_vocabulary(shared(atomic(6)))
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, same, other = (
        fresh_backbone("sasrec:tiny", vocabulary, 0.1, seed).output_embeddings()
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"


def test_names_of_fresh_backbones() -> None:
    assert all(is_fresh(name) for name in ("decoder", "decoder:base", "t5:tiny", "sasrec"))
    assert not is_fresh("google/flan-t5-small")
    vocabulary = random_vocabulary(shared(atomic(6)))
    with pytest.raises(InputError, match="no size 'huge'; choose one of tiny, small, medium, base"):
        fresh_backbone("decoder:huge", vocabulary, 0.0, 0)
